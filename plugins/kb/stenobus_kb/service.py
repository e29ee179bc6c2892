"""The kb plugin: finished documents and sync orders go into the local index."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

from stenobus_contracts import DocReady, KbDocument, KbSync, KbSynced
from stenobus_core import Check, Context, Plugin

from .errors import IndexMissing, KbError
from .index import Index
from .search import counts
from .settings import Settings
from .sync import synchronised

plugin = Plugin("kb", summary="Keeps documents in a local full-text index", settings=Settings)


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Index]:
    """The index, open for writing."""
    index = await asyncio.to_thread(Index, settings.index_path)
    try:
        yield index
    finally:
        await asyncio.to_thread(index.close)


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
        Check("writable", writable, str(place) if writable else f"{place} is not writable: set STENOBUS_KB_PATH"),
    ]


# One event at a time: there is one writer, and a document's versions go in as they came.
@plugin.handler(name="kb-ready", concurrency=1, publishes=[KbSynced])
async def ready(event: DocReady, ctx: Context[Settings, Index]) -> KbSynced:
    """Index a finished document; the same recording's next document takes its place."""
    return await synchronised(KbSync(collection=ctx.settings.collection, upsert=(searchable(event),)), ctx)


@plugin.handler(name="kb-sync", concurrency=1, timeout=3600, publishes=[KbSynced])
async def sync(event: KbSync, ctx: Context[Settings, Index]) -> KbSynced:
    """Bring a collection up to date: index new versions, remove ids. An id in both lists stays."""
    return await synchronised(event, ctx)


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
