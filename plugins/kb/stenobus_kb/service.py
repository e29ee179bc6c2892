"""The kb plugin: finished documents and sync orders go into the local index."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator

import structlog

from stenobus_contracts import DocReady, KbDocument, KbListed, KbSync, KbSynced
from stenobus_core import Check, Context, Plugin

from .errors import IndexMissing, KbError
from .guard import removals
from .index import Index
from .library import Library
from .search import counts
from .settings import Settings
from .sync import synchronised

#: Seconds until an embedder that failed is asked again; doubled up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0

plugin = Plugin("kb", summary="Keeps documents in a local index of words and vectors", settings=Settings)


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Library]:
    """The index, open for writing; what another model has embedded is embedded anew beside the events."""
    index = await asyncio.to_thread(Index, settings.index_path)
    try:
        library = Library(index, settings.make_embedder())
        await asyncio.to_thread(index.forget, settings.keep_days)
        stop = threading.Event()
        catching_up = asyncio.create_task(_catch_up(library, stop))
        try:
            yield library
        finally:
            stop.set()
            await catching_up
    finally:
        await asyncio.to_thread(index.close)


async def _catch_up(library: Library, stop: threading.Event) -> None:
    """Try until it is done: the model may be away for a while."""
    log = structlog.get_logger("stenobus.kb")
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            count = await asyncio.to_thread(library.catch_up, stop)
        except KbError as error:
            log.warning("kb.embedding.failed", reason=str(error), again_in=pause)
            await asyncio.to_thread(stop.wait, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if count:
                log.info("kb.embedding.done", texts=count)
            return


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether the index is sound and may be written."""
    path = settings.index_path
    try:
        documents, passages = counts(path)
        found = Check("index", True, f"{path}: {documents} documents, {passages} chunks")
    except IndexMissing as error:
        found = Check("index", True, str(error))
    except KbError as error:
        found = Check("index", False, str(error))
    place = next(place for place in (path, *path.parents) if place.exists())
    writable = os.access(place, os.W_OK)
    return [
        found,
        _embedder(settings),
        Check("writable", writable, str(place) if writable else f"{place} is not writable: set STENOBUS_KB_PATH"),
    ]


def _embedder(settings: Settings) -> Check:
    try:
        embedder = settings.make_embedder()
    except KbError as error:
        return Check("embedder", False, str(error))
    return Check("embedder", True, embedder.model if embedder else "none: words alone are searched")


# One event at a time: there is one writer, and a document's versions go in as they came.
@plugin.handler(name="kb-ready", concurrency=1, publishes=[KbSynced])
async def ready(event: DocReady, ctx: Context[Settings, Library]) -> KbSynced:
    """Index a finished document; the same recording's next document takes its place."""
    return await synchronised(KbSync(collection=ctx.settings.collection, upsert=(searchable(event),)), ctx)


@plugin.handler(name="kb-sync", concurrency=1, timeout=3600, publishes=[KbSynced])
async def sync(event: KbSync, ctx: Context[Settings, Library]) -> KbSynced:
    """Bring a collection up to date: index new versions, remove ids. An id in both lists stays."""
    return await synchronised(event, ctx)


@plugin.handler(name="kb-listed", concurrency=1, timeout=600)
async def listed(event: KbListed, ctx: Context[Settings, Library]) -> list[KbSync]:
    """Order the removal of what a source does not hold any more, in every index."""
    return await removals(event, ctx)


def searchable(event: DocReady) -> KbDocument:
    """A finished document as the index takes it. Its id is the address of what it was made from."""
    origin = (event.source.media or event.source.transcript).uri
    return KbDocument(
        id=origin if len(origin) <= 500 else hashlib.sha256(origin.encode()).hexdigest(),
        title=event.title,
        content=event.markdown,
        uri=origin,
        metadata={"markdown": event.markdown.uri, "language": event.source.language, "method": event.method},
    )
