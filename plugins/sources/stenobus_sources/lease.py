"""One run at a time per collection: whoever reads a source holds its collection until what it sent has arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from stenobus_bus import PermanentError
from stenobus_core import Context

from .catalogue import Origin
from .settings import Settings

#: Tries of each step.
ATTEMPTS: Final = 5
#: Seconds between two looks at a collection that another run holds.
LOOK: Final = 2.0
_ONE: Final = {"runs": Decimal(1)}


async def take(ctx: Context[Settings, Any], origin: Origin) -> None:
    """Wait until no other run holds the collection, and hold it. A run that holds it already goes on holding it.

    What a process that died held is the run's still, since the run goes on elsewhere; when nobody goes on with it, the
    collection is free two hours after the run's last step.
    """
    budget = ctx.budget(f"run.{origin.collection}", _ONE)
    while not hasattr(await budget.reserve(_who(ctx, origin.name), _ONE), "settle"):
        await ctx.progress(0.0, f"waiting for another run of {origin.collection}")
        await asyncio.sleep(LOOK)


async def release(ctx: Context[Settings, Any], origin: Origin) -> None:
    """Let the next run have the collection; nothing when this one does not hold it."""
    held = await ctx.budget(f"run.{origin.collection}", _ONE).reserve(_who(ctx, origin.name), _ONE)
    if hasattr(held, "settle"):
        await held.settle({})


@asynccontextmanager
async def step(ctx: Context[Settings, Any], origin: Origin, began: datetime, why: str = "") -> AsyncIterator[None]:
    """One step of a run: within the time of the whole run, and holding the collection, which is free if it fails.

    Args:
        why: a sentence for the case that the time is over.
    """
    await take(ctx, origin)
    try:
        async with within(ctx, began, origin.name, why):
            yield
    except PermanentError:
        await release(ctx, origin)
        raise
    except Exception:
        if ctx.attempt >= ATTEMPTS:
            await release(ctx, origin)
        raise


@asynccontextmanager
async def within(ctx: Context[Settings, Any], began: datetime, source: str, why: str) -> AsyncIterator[None]:
    """What is left of the time of a whole run. Raises PermanentError when it is over."""
    limit = ctx.settings.minutes
    left = (began + timedelta(minutes=limit) - datetime.now(UTC)).total_seconds()
    timeout = asyncio.timeout(max(left, 0.0))
    try:
        async with timeout:
            await asyncio.sleep(0)  # time that is over is noticed before anything is done
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise PermanentError(
            f"{source}: the run took longer than its {limit:g} minutes. {why}It sends again what has not arrived "
            "the next time. Raise minutes in [sources] if that is usual."
        ) from error


def _who(ctx: Context[Settings, Any], source: str) -> str:
    return f"{ctx.run}/{source}"
