"""Bounds on how long a server may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self


class Patience:
    """How long a server may take: for its whole answer, and between two parts of it.

    Time in which the server is not waited for does not count.

    Args:
        whole: seconds for everything.
        silence: seconds between two parts, once :meth:`heard` was called.
    """

    def __init__(self, whole: float, silence: float) -> None:
        self._whole, self._silence = whole, silence
        self._began = self._end = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + self._whole
        self._timeout = asyncio.timeout_at(self._end)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def over(self) -> bool:
        """It came to its end, and whoever waited got TimeoutError."""
        return self._timeout.expired()

    @property
    def silent(self) -> bool:
        """What came to its end was the silence, not the whole."""
        when = self._timeout.when()
        return when is not None and when < self._end

    def heard(self) -> None:
        """The server answers: from now on it must not fall silent."""
        self._until(min(self._end, self._loop.time() + self._silence))

    async def during(self, work: Awaitable[None]) -> None:
        """Do what is not the server's to hurry for."""
        started = self._loop.time()
        self._until(None)
        await work
        self._end += self._loop.time() - started
        self.heard()

    def _until(self, when: float | None) -> None:
        if not self.over:  # else its end is on its way already
            self._timeout.reschedule(when)
