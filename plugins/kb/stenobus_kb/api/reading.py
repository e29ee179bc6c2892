"""The index as the API reads it: a few open searchers, each in use by one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import IndexMissing, IndexUnusable
from ..search import Page, Query, Searcher

T = TypeVar("T")


class Busy(Exception):
    """All searchers are in use, and stay so for longer than a request waits."""


class Reading:
    """Reads in threads, at most so many at once.

    Args:
        path: the index.
        open_searcher: opens a searcher of it; they should share their vectors.
        at_once: readings at once.
        patience: seconds a request waits for its turn.
    """

    def __init__(
        self, path: Path, open_searcher: Callable[[], Searcher], at_once: int = 2, patience: float = 5.0
    ) -> None:
        self.path, self._open, self._patience = path, open_searcher, patience
        self._turns = asyncio.Semaphore(at_once)
        self._idle: list[Searcher] = []

    async def search(self, query: Query) -> Page:
        """A query's hits.

        Raises:
            Busy: it was not its turn in time.
            IndexMissing: nothing has been indexed yet.
            IndexUnusable: the file is unreadable, damaged, foreign or of another schema.
        """
        return await self.run(self._search, query)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call something that reads the index, in a thread. Raises Busy, and what it raises."""
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy from None
        # A thread goes on when its request is gone, and keeps its turn meanwhile.
        reading = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
        reading.add_done_callback(self._end)
        return await asyncio.shield(reading)

    def close(self) -> None:
        """Close the searchers."""
        while self._idle:
            self._idle.pop().close()

    def _end(self, reading: asyncio.Future[T]) -> None:
        self._turns.release()
        if not reading.cancelled():
            reading.exception()  # nobody may be left to look at it

    def _search(self, query: Query) -> Page:
        searcher = self._idle.pop() if self._idle else self._open()
        try:
            page = searcher.search(query)
        except (IndexMissing, IndexUnusable):
            searcher.close()  # the file may be another one by now
            raise
        self._idle.append(searcher)
        return page
