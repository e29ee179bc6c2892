"""The sources plugin: when it is time, what changed in a source goes into its collection."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from stenobus_bus import Occurrence, RateLimit, RetryPolicy
from stenobus_contracts import BlobRef, KbDocument, KbListed, KbSync, KbSynced
from stenobus_core import Check, Context, PermanentError, Plugin, RetryableError

from . import confirmation, lease, places
from .catalogue import Origin, Posts, catalogue, pick
from .confirmation import Bell
from .dataset import files
from .errors import Misconfigured, SourceError, Unreachable
from .events import (
    Counts,
    Pass,
    SourceDone,
    SourceDue,
    SourceExtracted,
    SourceLoaded,
    SourcePrepared,
    SourceWanted,
)
from .extraction import extract, kept, shared
from .lease import ATTEMPTS
from .prepare import cursor, document_id, prepare
from .records import Record, lines
from .retention import let_go
from .settings import Settings
from .stored import read_state, stored_records

#: Longest event that carries its documents itself, in bytes.
INLINE: Final = 200_000
#: Seconds of one attempt at a step. What counts is the time of the whole run, which the settings say.
_STEP: Final = 6 * 3600.0
_RETRY: Final = RetryPolicy(attempts=ATTEMPTS, base=5.0, cap=300.0)

Ctx = Context[Settings, Bell]

plugin = Plugin("sources", summary="Keeps collections in step with sites, folders and buckets", settings=Settings)


def _due(reads: Pass) -> Callable[[Occurrence], SourceDue]:
    def due(occurrence: Occurrence) -> SourceDue:
        return SourceDue(reads=reads)

    return due


plugin.schedule("changes", cron="0 0 0 * * *", timezone="America/Santiago", event=_due("changes"))
plugin.schedule("listing", cron="0 30 0 * * *", timezone="America/Santiago", event=_due("listing"))
plugin.schedule("full", cron="0 0 2 * * sun", timezone="America/Santiago", event=_due("full"))


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """There is a source."""
    return bool(settings.names)


@plugin.limits
def limits(settings: Settings) -> dict[str, RateLimit]:
    """Requests per second of each site."""
    return {site.name: RateLimit(per_second=site.rate, burst=1) for site in settings.wordpress}


@plugin.lifespan
async def bell(settings: Settings) -> AsyncIterator[Bell]:
    """What tells that an index has confirmed something."""
    yield Bell()


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether every source is set up; whether it answers, `stenobus sources check` says."""
    checks = [_output(settings.output_uri)]
    for name, origin in catalogue(settings).items():
        try:
            if isinstance(origin, Posts):
                _ = origin.site.password
            checks.append(Check(name, True, f"into {origin.collection}"))
        except Misconfigured as error:
            checks.append(Check(name, False, str(error)))
    return checks


def _output(uri: str) -> Check:
    if not uri.startswith("file://"):
        return Check("output", True, uri)
    path = Path(unquote(urlsplit(uri).path))
    place = next(place for place in (path, *path.parents) if place.exists())
    ok = place.is_dir() and os.access(place, os.W_OK)
    return Check("output", ok, uri if ok else f"{place} is no folder that can be written: set STENOBUS_SOURCES_OUTPUT")


@plugin.handler(name="sources-plan")
async def plan(event: SourceDue, ctx: Ctx) -> list[SourceWanted]:
    """One run for each source. What is listed whole in every run needs none for its listing."""
    known = catalogue(ctx.settings)
    for name in event.sources:
        _known(known, name)
    names = event.sources or [name for name, one in known.items() if event.reads != "listing" or isinstance(one, Posts)]
    return [SourceWanted(source=name, reads=event.reads) for name in names]


# Several at once: those of one collection wait for each other, those of different ones need not.
@plugin.handler(name="sources-extract", concurrency=8, timeout=_STEP, retry=_RETRY)
async def extracted(event: SourceWanted, ctx: Ctx) -> SourceExtracted:
    """Read a source."""
    origin = _origin(ctx, event.source)
    await lease.take(ctx, origin)
    began = _began(ctx)
    async with lease.step(ctx, origin, began):
        state = await read_state(ctx, origin)
        try:
            found = await extract(
                ctx,
                origin,
                event.reads,
                state,
                pace=shared(ctx, origin),
                most=ctx.settings.max_bytes,
                progress=ctx.progress,
                checkpoint=kept(ctx),
            )
        except Unreachable as error:
            raise RetryableError(str(error), delay=error.delay) from error
        except SourceError as error:
            raise PermanentError(str(error)) from error
        counts = Counts(
            found=len(found.records),
            listed=len(found.listing or ()),
            failed=len(found.failures),
            requests=found.requests,
        )
        ctx.note(**counts.model_dump(), **({"doubt": found.doubt} if found.doubt else {}))
        if found.failures:
            ctx.note(failures=[failure[:300] for failure in found.failures[:5]])
        await ctx.progress(1.0, counts.told())
        listing = "".join(f"{document_id(event.source, name)}\n" for name in found.listing or ())
        return SourceExtracted(
            source=event.source,
            collection=origin.collection,
            reads=event.reads,
            run_version=places.version(began, state.version),
            began=began,
            counts=counts,
            records=await ctx.store(lines(found.records.values()), "application/jsonl"),
            listing=await ctx.store(listing.encode(), "text/plain") if found.listing is not None else None,
            complete=found.complete,
            cursor=found.cursor,
            failures=tuple(failure[:300] for failure in found.failures[:10]),
        )


@plugin.handler(name="sources-prepare", concurrency=4, timeout=_STEP, retry=_RETRY)
async def prepared(event: SourceExtracted, ctx: Ctx) -> SourcePrepared:
    """Clean and check what was read, and keep what differs from what was sent before."""
    origin = _origin(ctx, event.source)
    async with lease.step(ctx, origin, event.began):
        state = await read_state(ctx, origin)
        most = ctx.settings.max_bytes
        found = await stored_records(ctx, event.records, most)
        before = await stored_records(ctx, state.records, most) if state.records else {}
        ids = {document_id(event.source, name): name for name in (*before, *found, *state.known)}
        listing = (await ctx.read(event.listing)).decode().split("\n") if event.listing else None
        listed = [ids.get(line, line) for line in listing] if listing is not None else None
        result = await asyncio.to_thread(prepare, origin, state, before, found, listed, complete=event.complete)
        counts = event.counts.model_copy(
            update={
                "changed": len(result.changed),
                "unchanged": result.unchanged,
                "quarantined": len(result.refused),
                "gone": result.gone,
            }
        )
        latest = min(event.cursor, event.began) if event.cursor else None  # a site's clock may be ahead
        after = state.model_copy(
            update={
                "cursor": cursor(state, latest),
                "known": result.known,
                "refused": result.refused,
                **({"version": event.run_version} if result.differs else {}),
            }
        )
        if result.differs:
            records = await ctx.store(lines(result.records.values()), "application/jsonl")
            after = after.model_copy(update={"records": records})
        documents, place = None, None
        if result.changed:
            documents = await _documents(ctx, origin, event.run_version, found, result.changed)
        if result.differs and not ctx.shadow:
            for file in await asyncio.to_thread(files, origin, event.run_version, result, counts):
                await ctx.write(file.content, file.uri, file.content_type)
            place = origin.places.dataset(event.run_version)
        ctx.note(**counts.model_dump(), **({"dataset": place} if place else {}))
        await ctx.progress(1.0, counts.told())
        if result.refused:
            ctx.note(quarantine=[f"{name}: {one.reason}" for name, one in list(result.refused.items())[:5]])
        return SourcePrepared(
            **_run(event, counts),
            documents=documents,
            listing=event.listing,
            complete=event.complete,
            state=await ctx.store_model(after) if after != state else None,
            dataset=place,
        )


@plugin.handler(name="sources-load", concurrency=4, retry=_RETRY, publishes=[KbSync, KbListed])
async def loaded(event: SourcePrepared, ctx: Ctx) -> SourceLoaded:
    """Send what changed, and what the source holds. What is as it was is not sent."""
    origin = _origin(ctx, event.source)
    async with lease.step(ctx, origin, event.began):
        # Two runs that end in the same second have nothing in common but their version.
        run = hashlib.sha256(ctx.run.encode()).hexdigest()[:6]
        name = f"{event.source}@{event.run_version}.{run}"
        sent = event.counts.changed if event.documents else 0
        if event.documents:
            content = await ctx.read(event.documents, limit=ctx.settings.max_bytes)
            sync = KbSync(collection=event.collection, source=event.source, dataset=name)
            inline = len(content) <= INLINE
            await ctx.publish(
                sync.model_copy(
                    update={"upsert": tuple(map(KbDocument.model_validate_json, content.splitlines()))}
                    if inline
                    else {"documents": event.documents}
                )
            )
        if event.listing is not None:
            await ctx.publish(
                KbListed(
                    collection=event.collection,
                    source=event.source,
                    listing=event.listing,
                    count=event.counts.listed,
                    complete=event.complete,
                )
            )
        ctx.note(sent=sent, listed=event.counts.listed, complete=event.complete)
        proven = "" if event.complete or event.listing is None else ", which proves nothing"
        await ctx.progress(1.0, f"{sent} sent, {event.counts.listed} listed{proven}")
        return SourceLoaded(
            **_run(event, event.counts), dataset=name if event.documents else None, sent=sent, state=event.state
        )


@plugin.handler(name="sources-verify", concurrency=16, timeout=_STEP, retry=_RETRY)
async def verified(event: SourceLoaded, ctx: Ctx) -> SourceDone:
    """Wait until an index has confirmed what was sent, then remember that it was."""
    origin = _origin(ctx, event.source)
    answers: dict[str, Any] = {}
    async with lease.step(ctx, origin, event.began, "No index has confirmed what was sent. "):
        if event.dataset is not None and not ctx.shadow:
            answers = await confirmation.wait(ctx, origin, event.dataset, event.sent)
        if event.state is not None and not ctx.shadow:
            await ctx.write(await ctx.read(event.state), origin.places.state, "application/json")
            await let_go(ctx, origin, ctx.settings.keep_datasets)
        first: dict[str, Any] = next(iter(answers.values()), {})
        seconds = (datetime.now(UTC) - event.began).total_seconds()
        ctx.note(**event.counts.model_dump(), sent=event.sent, sinks=list(answers), seconds=round(seconds, 1))
        await ctx.progress(1.0, f"{event.source}: {event.counts.told()}, {event.sent} sent")
        done = SourceDone(
            **_run(event, event.counts),
            dataset=event.dataset,
            sinks=tuple(sorted(answers)),
            added=first.get("added", 0),
            updated=first.get("updated", 0),
            seconds=round(seconds, 3),
        )
    await lease.of(ctx, origin).release()
    return done


# One at a time over all processes: answers of several indexes are gathered in one file.
@plugin.handler(name="sources-heard", concurrency=1, fleet_concurrency=1, track=False)
async def heard(event: KbSynced, ctx: Ctx) -> None:
    """An index has confirmed a dataset."""
    origin = catalogue(ctx.settings).get(event.source or "")
    if origin is None or event.dataset is None or ctx.shadow:
        return
    await confirmation.keep(ctx, origin, event)
    ctx.state.set()


async def _documents(
    ctx: Ctx, origin: Origin, version: str, found: dict[str, Record], changed: dict[str, Any]
) -> BlobRef:
    documents = []
    for number, (name, page) in enumerate(changed.items()):
        await ctx.progress(0.9 * number / len(changed), page.title)
        modified = found[name].modified
        documents.append(
            KbDocument(
                id=document_id(origin.name, name),
                title=page.title,
                content=await ctx.store(page.text().encode(), "text/markdown"),
                uri=page.link,
                metadata={**page.metadata(), **({"modified": modified.isoformat()} if modified else {})},
            )
        )
    return await ctx.store(lines(documents), "application/jsonl")


def _origin(ctx: Ctx, name: str) -> Origin:
    ctx.note(source=name)
    return _known(catalogue(ctx.settings), name)


def _known(known: dict[str, Origin], name: str) -> Origin:
    try:
        return pick(known, name)
    except Misconfigured as error:
        raise PermanentError(str(error)) from error


def _began(ctx: Ctx) -> datetime:
    """When the first attempt began, in whatever process."""
    known = ctx.earlier.get("began")
    began = datetime.fromisoformat(known) if isinstance(known, str) else datetime.now(UTC).replace(microsecond=0)
    ctx.note(began=began.isoformat())
    return began


def _run(event: Any, counts: Counts) -> dict[str, Any]:
    fields = ("source", "collection", "reads", "run_version", "began")
    return {**{name: getattr(event, name) for name in fields}, "counts": counts}
