"""How a remedy waits for what it hopes for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_LOOK: Final = 0.2


async def comes_true(condition: Callable[[], Awaitable[bool]], within: float) -> bool:
    """Whether a condition is true within some seconds; looked at once at least. Raises what the condition raises."""
    end = asyncio.get_running_loop().time() + within
    while not await condition():
        if asyncio.get_running_loop().time() >= end:
            return False
        await asyncio.sleep(_LOOK)
    return True
