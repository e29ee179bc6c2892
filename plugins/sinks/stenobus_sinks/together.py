"""Several calls at once, and one error when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def together(limit: int, function: Callable[[T], Awaitable[R]], values: Iterable[T]) -> list[R]:
    """Call a function for every value, at most so many at once.

    Raises:
        Exception: the first that a call raised; the others are cancelled.
    """
    hands = asyncio.Semaphore(limit)

    async def one(value: T) -> R:
        async with hands:
            return await function(value)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(value)) for value in values]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
