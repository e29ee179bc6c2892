"""OpenSearch: a document per document, its passages inside, found by words and by vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stenobus_contracts import KbSync, KbSynced
from stenobus_core import Check, Context, Plugin, RetryPolicy

from ...port import Sink
from ...syncing import synchronise
from .settings import Settings

__all__ = ["Settings", "plugin"]

plugin = Plugin("kb-opensearch", summary="Keeps indexes of OpenSearch up to date", settings=Settings)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Somebody named a cluster."""
    return settings.url is not None


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether the cluster lets us in, and what it can do."""
    from .checks import checks

    return checks(settings)


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Sink]:
    """The cluster."""
    from .sink import OpenSearchSink

    sink = OpenSearchSink(settings)
    try:
        yield sink
    finally:
        await sink.close()


@plugin.handler(
    name="kb-opensearch",
    concurrency=2,
    timeout=3600,
    retry=RetryPolicy(attempts=6, base=5.0, cap=300.0),
    publishes=[KbSynced],
)
async def sync(event: KbSync, ctx: Context[Settings, Sink]) -> KbSynced:
    """Bring the cluster's share of a collection up to date."""
    return await synchronise(event, ctx, ctx.state)
