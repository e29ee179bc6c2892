"""The kb plugin: finished documents and sync orders go into the local index."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator

from stenobus_contracts import DocReady, KbDocument, KbSync, KbSynced
from stenobus_core import Check, Context, PermanentError, Plugin

from .chunk import chunks
from .errors import IndexMissing, KbError
from .index import Index, Outcome
from .search import counts
from .settings import Settings

SINK = "local"
#: Longest text of one document.
MAX_TEXT_BYTES = 16 * 1024 * 1024

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
@plugin.handler(name="kb-ready", concurrency=1)
async def ready(event: DocReady, ctx: Context[Settings, Index]) -> KbSynced:
    """Index a finished document; the same recording's next document takes its place."""
    return await _sync(ctx, ctx.settings.collection, [searchable(event)], [])


@plugin.handler(name="kb-sync", concurrency=1, timeout=3600)
async def sync(event: KbSync, ctx: Context[Settings, Index]) -> KbSynced:
    """Bring a collection up to date: index new versions, remove ids. An id in both lists stays."""
    upsert = {document.id: document for document in event.upsert}
    synced = await _sync(
        ctx, event.collection, list(upsert.values()), [name for name in event.delete if name not in upsert]
    )
    return synced.model_copy(update={"source": event.source, "dataset": event.dataset})


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


async def _sync(
    ctx: Context[Settings, Index], collection: str, upsert: list[KbDocument], delete: list[str]
) -> KbSynced:
    index = ctx.state
    outdated = await asyncio.to_thread(index.outdated, collection, upsert)
    if ctx.shadow:
        outdated, delete = [], []  # what is only tried out must not be found by people
    outcomes = Counter[Outcome](unchanged=len(upsert) - len(outdated))
    problems = []
    for number, document in enumerate(outdated):
        await ctx.progress(number / len(outdated), document.title)
        try:
            outcomes[await _put(ctx, collection, document)] += 1
        except PermanentError as error:  # the other documents are not to blame
            problems.append(str(error))
    deleted = await asyncio.to_thread(index.delete, collection, delete)
    if problems:
        some = " ".join(problems[:3])
        raise PermanentError(f"{len(problems)} of {len(upsert)} documents are not indexed: {some}")
    return KbSynced(
        collection=collection,
        sink=SINK,
        added=outcomes["added"],
        updated=outcomes["updated"],
        unchanged=outcomes["unchanged"],
        deleted=deleted,
        chunks=await asyncio.to_thread(index.size, collection),
    )


async def _put(ctx: Context[Settings, Index], collection: str, document: KbDocument) -> Outcome:
    content = await ctx.read(document.content, limit=MAX_TEXT_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PermanentError(
            f"{document.content.uri} is no UTF-8 text: the index takes Markdown and plain text."
        ) from error

    def write() -> Outcome:
        return ctx.state.put(collection, document, chunks(text, document.title))

    return await asyncio.to_thread(write)
