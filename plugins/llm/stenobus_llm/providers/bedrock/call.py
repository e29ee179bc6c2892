"""A call that blocks, in a thread of its own, and the task that waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from .. import Piece
from ..patience import Patience

#: Texts that a thread reads ahead of the task that takes them.
AHEAD: Final = 64

Answer = dict[str, Any]


class Gone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class _End:
    outcome: Answer | BaseException


class Call:
    """From the thread that reads to the task that waits: texts in their order, then the answer, or why there is none.

    The thread stays at most ``AHEAD`` texts before the task. When the task leaves, what the thread waits for is cut
    off; only while it connects it cannot be reached, and ends at the timeout for that. It is a daemon: no process waits
    for it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[str | _End] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._lock = threading.Lock()
        self._left = False
        self._cut: Callable[[], object] | None = None

    def start(self, work: Callable[[], Answer], ended: Callable[[], None], name: str) -> None:
        """Do the work in a thread.

        Args:
            work: makes the answer.
            ended: called on the event loop when the thread is at its end.
            name: of the thread.
        """
        threading.Thread(target=self._run, args=(work, ended), name=name, daemon=True).start()

    async def answer(self, piece: Piece | None, patience: Patience) -> Answer:
        """What the work came to, after every text of it was taken.

        Args:
            piece: takes the texts.
            patience: is told of every sign of life.

        Raises:
            Exception: what the work, or taking a text, raised.
        """
        try:
            while isinstance(item := await self._items.get(), str):
                self._room.release()
                if item and piece is not None:
                    await patience.during(piece(item))
                else:
                    patience.heard()
            self._cut = None  # the connection may be another call's by now
        finally:
            self._leave()
        if isinstance(item.outcome, BaseException):
            raise item.outcome
        return item.outcome

    # --- in the thread -----------------------------------------------------------------------------------------------

    def reached(self, cut: Callable[[], object]) -> None:
        """What the thread waits for from here on, can be cut off by this, from another thread.

        Raises:
            Gone: nobody waits for it.
        """
        with self._lock:
            self._cut = cut
            if self._left:
                raise Gone

    def text(self, text: str) -> None:
        """Hand a text over, once there is room for it. An empty one is a sign of life.

        Raises:
            Gone: nobody waits for it.
        """
        self._room.acquire()
        if self._left:
            raise Gone
        self._loop.call_soon_threadsafe(self._items.put_nowait, text)

    def _run(self, work: Callable[[], Answer], ended: Callable[[], None]) -> None:
        try:
            outcome: Answer | BaseException = work()
        except BaseException as error:
            outcome = error
        with suppress(RuntimeError):  # the loop is closed, and so nobody waits
            self._loop.call_soon_threadsafe(self._items.put_nowait, _End(outcome))
            self._loop.call_soon_threadsafe(ended)

    # --- on the event loop -------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        with self._lock:
            self._left = True
            cut = self._cut
        self._room.release()
        if cut is not None:
            with suppress(ValueError, RuntimeError, OSError):  # it is at its end already
                cut()
