"""What a source does not hold any more is removed with due care: a failed listing looks like a mass deletion."""

from __future__ import annotations

import asyncio

from stenobus_contracts import KbListed, KbSync
from stenobus_core import Context, PermanentError

from .absences import compare
from .incoming import lines
from .library import Library
from .settings import Settings

#: Bytes of a listing, ids in it, and bytes of one id.
MAX_BYTES = 1024 * 1024 * 1024
MAX_IDS = 2_000_000
MAX_ID_BYTES = 2_000
#: Ids that one order removes.
AT_ONCE = 1_000


async def removals(event: KbListed, ctx: Context[Settings, Library]) -> list[KbSync]:
    """Orders to remove what has been missing from two complete listings.

    Nothing is removed after a listing that is incomplete or empty, or older than what has been synchronised since.
    Documents of other sources are not looked at.

    Raises:
        PermanentError: the listing is not what the event says, or more is missing than may go at once.
    """
    if why := _unfit(event, ctx):
        ctx.note(listing=why)
        ctx.log.info("kb.listing.ignored", collection=event.collection, source=event.source, reason=why)
        return []
    index = ctx.state.index
    present = await _ids(event, ctx)
    found = await asyncio.to_thread(compare, index, ctx.event_id, event.collection, event.source, present, ctx.stored)
    ctx.note(live=found.live, absent=len(found.newly) + len(found.again), absent_again=len(found.again))
    if found.outdated:
        ctx.note(listing="older than the last sync")
        return []
    most = max(ctx.settings.removals_floor, int(found.live * ctx.settings.removals_percent / 100))
    if len(found.again) > most:
        raise PermanentError(
            f"{len(found.again)} of {found.live} documents of {event.source} in {event.collection} are missing from two"
            f" listings and at most {most} are removed at once: look at the source; if they are gone indeed, set"
            " STENOBUS_KB_REMOVALS_PERCENT=100, restart the kb plugin and retry this dead letter."
        )
    await asyncio.to_thread(index.forget, ctx.settings.keep_days)
    return [
        KbSync(collection=event.collection, source=event.source, delete=found.again[start : start + AT_ONCE])
        for start in range(0, len(found.again), AT_ONCE)
    ]


def _unfit(event: KbListed, ctx: Context[Settings, Library]) -> str | None:
    """Why nothing may follow from a listing."""
    if ctx.shadow or ctx.replay is not None:
        return "a trial" if ctx.shadow else "a replay"
    if not event.complete:
        return "incomplete"
    return None if event.count else "empty"


async def _ids(event: KbListed, ctx: Context[Settings, Library]) -> set[str]:
    listing = event.listing
    if listing.size > MAX_BYTES:
        raise PermanentError(f"{listing.uri} has {listing.size} bytes, the limit is {MAX_BYTES}: list it in parts.")
    async with ctx.fetch(listing) as path:
        try:
            found = [text.decode() for _, text in lines(path, listing.uri, MAX_ID_BYTES, MAX_IDS)]
        except UnicodeDecodeError as error:
            raise PermanentError(f"{listing.uri} is no UTF-8 text: nothing is removed.") from error
    if len(found) != event.count:
        raise PermanentError(
            f"{listing.uri} has {len(found)} ids and {event.count} were announced: nothing is removed; list it again."
        )
    return set(found)
