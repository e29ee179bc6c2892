"""Wait for what must come about, and no longer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

#: Seconds. For what does come about, on a machine that is busy with something else: no test measures a time by it.
DEADLINE = 60.0


async def eventually(condition: Callable[[], Any | Awaitable[Any]], within: float = DEADLINE) -> Any:
    """The first true value of a condition.

    Raises:
        AssertionError: it stayed false.
    """
    value: Any = None
    try:
        async with asyncio.timeout(within):
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within} s: {inspect.getsource(condition).strip()} (was {value!r})") from None


async def still(condition: Callable[[], Any], seconds: float) -> None:
    """A condition stays true for a while: what must not happen needs time not to happen.

    Raises:
        AssertionError: it became false.
    """
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        assert condition(), inspect.getsource(condition).strip()
        await asyncio.sleep(0.005)


class Gate:
    """Holds handlers until a test lets them go on, and counts who came."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self._open = asyncio.Event()

    async def __call__(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1

    def open(self) -> None:
        self._open.set()
