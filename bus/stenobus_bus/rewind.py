"""Replay in place: a handler's consumers go back in their stream, and its ledger forgets what they shall do again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from . import ledger
from .connection import ApiError, Bus
from .envelope import REPLAY
from .history import Remembered
from .pause import Place, pause, places, resume

log = structlog.get_logger(__name__)

#: Seconds that handlers get to finish what they have in hand before their consumer goes back.
PATIENCE: Final = 30.0
#: How long the handler is held still at most, should the one who rewinds it die.
_HOLD: Final = timedelta(minutes=15)
#: Ledger entries forgotten at a time.
_WINDOW: Final = 64
#: The first server that can move a consumer; older ones need it made anew.
_RESET_SINCE: Final = (2, 14)
_CONSUMER_EXISTS: Final = frozenset({10013, 10148})


async def rewind(
    bus: Bus, handler: str, stream: str, sequence: int, again: AsyncIterable[Remembered], *, patience: float = PATIENCE
) -> int:
    """Deliver a handler's stream again from a sequence on, and let it work again on some of the events.

    Everything from the sequence on is delivered; what the ledger still knows is acknowledged unseen. A handler without
    a ledger works on all of it. Outputs carry the ids they had, so the handlers behind it, which have their own
    ledgers, take them for what they know.

    Args:
        again: events that the ledger forgets.
        patience: seconds to wait for what is in hand. What takes longer is finished under the old reading, and may be
            taken for done when it comes again.

    Returns:
        How many completions were forgotten.

    Raises:
        ServerUnavailable: the server does not answer; what was paused goes on by itself.
    """
    consumers = [place for place in await places(bus, handler) if place.stream == stream]
    async with _held(bus, consumers):
        await _settled(bus, consumers, patience)
        forgotten = await forget(bus, handler, again)
        for place in consumers:
            await move(bus, place, sequence)
    return forgotten


async def forget(bus: Bus, handler: str, messages: AsyncIterable[Remembered]) -> int:
    """Remove a handler's memory of events; returns how many it remembered."""
    forgotten = 0
    async for group in _groups(messages):
        forgotten += sum(await asyncio.gather(*(_forget(bus, handler, message) for message in group)))
    return forgotten


async def move(bus: Bus, place: Place, sequence: int) -> None:
    """Move a consumer to a sequence of its stream: what was delivered and not settled is delivered again as well."""
    where = f"{place.stream}.{place.consumer}"
    version = bus.nc.connected_server_version
    if (version.major, version.minor) >= _RESET_SINCE:
        try:
            await bus.api(f"CONSUMER.RESET.{where}", {"seq": sequence})
            return
        except ApiError as error:
            # A consumer that was made to begin later cannot go back behind its beginning.
            log.info("rewind.made_anew", consumer=place.consumer, reason=str(error))
    await recreate(bus, place, sequence)


async def recreate(bus: Bus, place: Place, sequence: int) -> None:
    """Make a consumer anew with the same settings, so that it begins at a sequence: for servers before 2.14.

    Raises:
        ApiError: the server refuses it.
    """
    where = f"{place.stream}.{place.consumer}"
    config = (await bus.api(f"CONSUMER.INFO.{where}"))["config"]
    config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence}
    config.pop("opt_start_time", None)
    while True:
        await bus.api(f"CONSUMER.DELETE.{where}")
        try:
            await bus.api(
                f"CONSUMER.CREATE.{where}", {"stream_name": place.stream, "config": config, "action": "create"}
            )
            return
        except ApiError as error:
            if error.err_code not in _CONSUMER_EXISTS:
                raise
            # A worker missed it and made it as it makes it for itself, which begins elsewhere.


async def _forget(bus: Bus, handler: str, message: Remembered) -> int:
    found = message.attributes
    known = ledger.entry(handler, found.get("source", "unknown"), message.event_id, found.get(REPLAY))
    # Purged, not deleted: a delete marker is an entry too.
    return int((await bus.api(f"STREAM.PURGE.KV_{ledger.BUCKET}", {"filter": known}))["purged"])


async def _groups(messages: AsyncIterable[Remembered]) -> AsyncIterator[list[Remembered]]:
    group: list[Remembered] = []
    async for message in messages:
        group.append(message)
        if len(group) == _WINDOW:
            yield group
            group = []
    yield group


@asynccontextmanager
async def _held(bus: Bus, consumers: Sequence[Place]) -> AsyncIterator[None]:
    """Hold consumers still, then leave each as it was: going, or paused by somebody else."""
    until = datetime.now(UTC) + _HOLD
    try:
        for place in consumers:
            await pause(bus, place, max(until, place.paused_until or until))
        yield
    finally:
        for place in consumers:
            if place.paused_until:
                await pause(bus, place, place.paused_until)
            else:
                await resume(bus, place)


async def _settled(bus: Bus, consumers: Sequence[Place], patience: float) -> None:
    """Wait until nothing is in hand."""
    pause, end = 0.02, asyncio.get_running_loop().time() + patience
    for place in consumers:
        while (await bus.api(f"CONSUMER.INFO.{place.stream}.{place.consumer}"))["num_ack_pending"]:
            if asyncio.get_running_loop().time() > end:
                log.warning("rewind.in_hand", consumer=place.consumer, waited=patience)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)
