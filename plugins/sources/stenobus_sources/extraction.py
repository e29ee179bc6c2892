"""Reading a source of whatever kind: at an agreed pace, and from where an attempt before got to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stenobus_core import Context

from . import files
from .catalogue import Origin, Tree
from .events import Pass
from .files import Store
from .records import Extraction
from .settings import Settings
from .state import State
from .wordpress.client import Client, Pace
from .wordpress.extract import extract as extract_posts
from .wordpress.pager import Checkpoint, Page, unkept


async def extract(
    store: Store,
    origin: Origin,
    reads: Pass,
    state: State,
    *,
    pace: Pace,
    most: int,
    progress: Callable[[float, str], Awaitable[None]],
    checkpoint: Callable[[str], Checkpoint] = lambda stage: unkept,
) -> Extraction:
    """Read a source.

    Args:
        pace: called before each request to a site; returns when it may be sent.
        most: bytes that may be read of files.
        checkpoint: by the name of a listing, what keeps its pages.

    Raises:
        SourceError: it cannot be read.
        RetryableError: the store of its files is out of reach.
    """
    if isinstance(origin, Tree):
        everything = reads == "full"
        return await files.extract(store, origin.files, state, everything=everything, most=most, progress=progress)
    async with Client(origin.site, pace) as client:
        return await extract_posts(
            client, origin.site, origin.type, reads, state, checkpoint=checkpoint, progress=progress
        )


def shared(ctx: Context[Settings, Any], origin: Origin) -> Pace:
    """The pace that all processes share."""

    async def pace() -> None:
        if not isinstance(origin, Tree):
            await ctx.limit(origin.site.name).acquire(1)

    return pace


def alone(rate: float) -> Pace:
    """The pace of a process that has nobody beside it: so many requests per second."""
    turn = 0.0

    async def pace() -> None:
        nonlocal turn
        now = asyncio.get_running_loop().time()
        turn = max(now, turn + 1 / rate)
        await asyncio.sleep(turn - now)

    return pace


def kept(ctx: Context[Settings, Any]) -> Callable[[str], Checkpoint]:
    """Keeps the pages of an attempt for the next one, wherever that is made."""

    def checkpoint(stage: str) -> Checkpoint:
        async def keep(round: int, number: int, fetch: Callable[[], Awaitable[Page]]) -> Page:
            parts = (ctx.event_id, ctx.replay, stage, round, number)
            if (known := await ctx.recall(Page, *parts)) is not None:
                return known
            page = await fetch()
            if not page.past_the_end and not page.failures:
                await ctx.keep(page, *parts)
            return page

        return keep

    return checkpoint
