"""A record and a clock in this process, for more schedules than a real server has time for."""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

from stenobus_bus.cell import Value

T = TypeVar("T")


class Shared:
    """A record that is changed by compare-and-set with others in between, as the server's is."""

    def __init__(self, chance: random.Random) -> None:
        self._value, self._revision, self._chance = "{}", 0, chance

    async def change(self, step: Callable[[Value], tuple[Value, T]]) -> T:
        while True:
            await self._others()
            revision, (new, result) = self._revision, step(json.loads(self._value))
            stored = json.dumps(new)
            await self._others()
            if revision == self._revision:
                self._value, self._revision = stored, revision + 1
                await self._others()
                return result

    async def _others(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


class Timeless(asyncio.SelectorEventLoop):
    """An event loop that does not wait: when nothing else is to be done, it is at once as late as the next timer."""

    def __init__(self) -> None:
        loop = self
        self.now = 0.0

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                loop.now += timeout or 0.0
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now
