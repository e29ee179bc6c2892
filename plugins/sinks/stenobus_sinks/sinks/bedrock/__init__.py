"""Amazon Bedrock Knowledge Bases: documents in a bucket's prefix, and jobs or calls that bring them in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stenobus_contracts import KbSync, KbSynced
from stenobus_core import Check, Context, Plugin, RetryPolicy

from ...port import Sink
from ...syncing import synchronise
from .settings import Settings

__all__ = ["Settings", "plugin"]

plugin = Plugin("kb-bedrock", summary="Keeps an Amazon Bedrock Knowledge Base up to date", settings=Settings)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Somebody named a knowledge base."""
    return settings.knowledge_base_id is not None


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether the knowledge base reads what this plugin writes."""
    from .checks import checks

    return checks(settings)


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Sink]:
    """The knowledge base."""
    from .sink import Bedrock  # boto3 takes a third of a second to import

    sink = Bedrock(settings)
    try:
        yield sink
    finally:
        await sink.close()


# Many events in hand, one job at a time: all that are written by the time a job begins are done with it.
@plugin.handler(
    name="kb-bedrock",
    concurrency=16,
    timeout=4 * 3600,
    retry=RetryPolicy(attempts=4, base=15.0, cap=300.0),
    publishes=[KbSynced],
)
async def sync(event: KbSync, ctx: Context[Settings, Sink]) -> KbSynced:
    """Bring the knowledge base's share of a collection up to date."""
    return await synchronise(event, ctx, ctx.state)
