"""Bounds on how long a server may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self


class Patience:
    """How long a server may take: for its whole answer, and between two parts of it.

    Time in which the server is not waited for does not count. A part costs two looks at the clock: the one timer finds
    out when it fires whether it was too early.

    Args:
        whole: seconds for everything.
        silence: seconds between two parts, once :meth:`heard` was called.
    """

    def __init__(self, whole: float, silence: float) -> None:
        self._whole, self._silence = whole, silence
        self._heard: float | None = None
        self._busy = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + self._whole
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._timer = self._loop.call_at(self._due, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def over(self) -> bool:
        """It came to its end, and whoever waited got TimeoutError."""
        return self._timeout.expired()

    @property
    def silent(self) -> bool:
        """What comes to its end is the silence, before the whole."""
        return self._due < self._end

    def heard(self) -> None:
        """The server answers: from now on it must not fall silent."""
        self._heard = self._loop.time()
        if self._due < self._timer.when():  # it goes off too late only for the first time, and after work
            self._arm()

    async def during(self, work: Awaitable[None]) -> None:
        """Do what is not the server's to hurry for."""
        started, self._busy = self._loop.time(), True
        await work
        self._busy = False
        self._end += self._loop.time() - started
        self.heard()

    @property
    def _due(self) -> float:
        return self._end if self._heard is None else min(self._end, self._heard + self._silence)

    def _arm(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._busy:
            self._timer = self._loop.call_at(now + self._silence, self._look)
        elif self._due <= now:
            self._timeout.reschedule(now)
        else:
            self._arm()
