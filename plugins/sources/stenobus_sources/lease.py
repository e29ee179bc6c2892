"""One run at a time per collection: whoever reads a source holds its collection until what it sent has arrived.

A run that is at work gives a sign of life every few seconds. One that gives none any more loses its collection to the
next run; should it come to life again, it ends: the other one has read all that it would have sent, and later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from stenobus_bus import PermanentError, ServerUnavailable
from stenobus_core import Context

from .catalogue import Origin
from .settings import Settings

if TYPE_CHECKING:
    from stenobus_bus.cell import Cell, Value

#: Tries of each step.
ATTEMPTS: Final = 5
#: Seconds between two looks at a collection that another run holds.
LOOK: Final = 2.0
#: Seconds after its last sign of life at which a run that was at work has lost its collection.
ALIVE: Final = 60.0
#: Seconds until its next step or attempt has to begin: the longest wait before an attempt, and as long in a queue.
PAUSE: Final = 600.0
#: Runs that have lost a collection and are told so, should they come to life again.
_REMEMBERED: Final = 100


class Lost(PermanentError):
    """Another run has taken the collection of one that gave no sign of life."""


class Lease:
    """A collection, as one run sees it.

    Args:
        cell: what all runs share: who holds the collection and until when, and who has lost it.
        who: name of the run.
        clock: seconds since the epoch. Those of two hosts may differ by far less than :data:`ALIVE`.
    """

    def __init__(self, cell: Cell, who: str, clock: Callable[[], float] = time.time) -> None:
        self._cell, self._who, self._clock = cell, who, clock

    async def take(self) -> bool:
        """Hold the collection, unless another run does.

        Raises:
            Lost: this one has held it, and another one has taken it.
            ServerUnavailable: the cell does not answer.
        """

        def step(value: Value) -> tuple[Value, bool | None]:
            lost = value.get("lost", [])
            if self._who in lost:
                return value, None
            if (before := value.get("run", self._who)) != self._who and value["until"] > 0:
                if value["until"] > self._clock():
                    return value, False
                lost = [*lost, before][-_REMEMBERED:]
            return self._held(ALIVE) | {"lost": lost}, True

        found = await self._cell.change(step)
        if found is None:
            raise Lost(
                f"Another run has taken the collection, since {self._who} gave no sign of life for a while. It sends"
                " what this one has not sent."
            )
        return found

    async def hold(self, seconds: float) -> bool:
        """Go on holding it for so long; False when another run has it. Raises ServerUnavailable."""

        def step(value: Value) -> tuple[Value, bool]:
            ours = value.get("run") == self._who
            return (value | self._held(seconds) if ours else value), ours

        return await self._cell.change(step)

    async def release(self) -> None:
        """Let the next run have it; nothing when this one does not hold it. Raises ServerUnavailable."""
        await self.hold(0.0)

    def _held(self, seconds: float) -> Value:
        return {"run": self._who, "until": self._clock() + seconds if seconds else 0.0}


def of(ctx: Context[Settings, Any], origin: Origin) -> Lease:
    """The lease of a source's collection for this run."""
    return Lease(ctx.cell(f"run.{origin.collection}"), f"{ctx.run}/{origin.name}")


async def take(ctx: Context[Settings, Any], origin: Origin) -> None:
    """Wait until no other run holds the collection, and hold it. A run that holds it already goes on holding it."""
    while not await of(ctx, origin).take():
        await ctx.progress(0.0, f"waiting for another run of {origin.collection}")
        await asyncio.sleep(LOOK)


@asynccontextmanager
async def step(ctx: Context[Settings, Any], origin: Origin, began: datetime, why: str = "") -> AsyncIterator[None]:
    """One step of a run: within the time of the whole run, and holding the collection, which is free if it fails.

    Args:
        why: a sentence for the case that the time is over.

    Raises:
        PermanentError: the time is over, or another run has taken the collection.
    """
    await take(ctx, origin)
    lease = of(ctx, origin)
    try:
        async with within(ctx, began, origin.name, why), _living(lease):
            yield
    except PermanentError:
        await lease.release()
        raise
    except Exception:
        await lease.hold(PAUSE if ctx.attempt < ATTEMPTS else 0.0)
        raise


@asynccontextmanager
async def _living(lease: Lease) -> AsyncIterator[None]:
    """Give signs of life. Raises Lost, also in the middle of the block."""
    lost = asyncio.timeout(None)

    async def beat() -> None:
        while True:
            await asyncio.sleep(ALIVE / 3)
            with suppress(ServerUnavailable):  # nobody else can take the collection meanwhile either
                if not await lease.hold(ALIVE):
                    lost.reschedule(asyncio.get_running_loop().time())
                    return

    beats = asyncio.create_task(beat())
    try:
        async with lost:
            yield
    except TimeoutError:
        if lost.expired():
            await lease.take()  # says who lost what
        raise
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats
    if not await lease.hold(PAUSE):
        await lease.take()


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
