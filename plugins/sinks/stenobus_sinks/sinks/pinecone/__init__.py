"""Pinecone: a namespace per collection, its passages as records."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stenobus_contracts import KbSync, KbSynced
from stenobus_core import Check, Context, Plugin, RetryPolicy

from ...port import Sink
from ...syncing import synchronise
from .settings import Settings

__all__ = ["Settings", "plugin"]

plugin = Plugin("kb-pinecone", summary="Keeps an index of Pinecone up to date", settings=Settings)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Somebody named an index."""
    return settings.host is not None


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether the index lets us in, and has vectors of the right length."""
    from .checks import checks

    return checks(settings)


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Sink]:
    """The index."""
    from .sink import PineconeSink

    sink = PineconeSink(settings)
    try:
        yield sink
    finally:
        await sink.close()


# One event at a time over all processes: Pinecone compares no versions, so nobody else may write meanwhile.
@plugin.handler(
    name="kb-pinecone",
    concurrency=1,
    fleet_concurrency=1,
    timeout=3600,
    retry=RetryPolicy(attempts=6, base=5.0, cap=300.0),
    publishes=[KbSynced],
)
async def sync(event: KbSync, ctx: Context[Settings, Sink]) -> KbSynced:
    """Bring the index's share of a collection up to date."""
    return await synchronise(event, ctx, ctx.state)
