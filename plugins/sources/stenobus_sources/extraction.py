"""Reading a source inside a handler: at the pace that all processes share, and from where an attempt before got to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stenobus_core import Context

from . import files
from .catalogue import Origin, Tree
from .events import Pass
from .records import Extraction
from .settings import Settings
from .state import State
from .wordpress.client import Client
from .wordpress.extract import extract as extract_posts
from .wordpress.pager import Checkpoint, Page


async def extract(ctx: Context[Settings, Any], origin: Origin, reads: Pass, state: State) -> Extraction:
    """Read a source. Raises SourceError."""
    if isinstance(origin, Tree):
        return await files.extract(
            ctx,
            origin.files,
            state,
            everything=reads == "full",
            most=ctx.settings.max_bytes,
            progress=ctx.progress,
        )

    async def pace() -> None:
        await ctx.limit(origin.site.name).acquire(1)

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

    async with Client(origin.site, pace) as client:
        return await extract_posts(
            client, origin.site, origin.type, reads, state, checkpoint=checkpoint, progress=ctx.progress
        )
