"""The plugin: uploaded documents are read, described, stored and handed to the knowledge base."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from stenobus_contracts import (
    IngestDone,
    IngestedDocument,
    KbDocument,
    KbSync,
    LlmRequest,
    Media,
    MediaUploaded,
    OcrDone,
    StoreNotified,
)
from stenobus_core import Check, Context, PermanentError, Plugin, RetryableError, SettingsError
from stenobus_core.kinds import HEAD, Kind, kind_by_content, kind_of

from .describe import describe
from .errors import Unreadable
from .formats import formats, others
from .notified import SOURCE, superseded, take
from .place import Place
from .reader import Overdue, Reader, Reading
from .settings import Settings

#: Goes up when the same document would be read differently.
VERSION: Final = 1

plugin = Plugin(
    "ingest", summary="Reads PDF, Office, HTML, Markdown, CSV and e-mail for the knowledge base", settings=Settings
)


@plugin.lifespan
async def reader(settings: Settings) -> AsyncIterator[Reader]:
    """What reads documents."""
    yield Reader(settings.bounds, settings.max_memory_bytes, settings.max_seconds, settings.formats)


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Which formats can be read."""
    try:
        known = formats()
    except Exception as error:  # whatever an extractor's import raises
        return [Check("formats", False, f"an extractor cannot be loaded: {error}")]
    unknown = [name for name in settings.formats if name not in known]
    checks = [Check("formats", not unknown, f"unknown: {', '.join(unknown)}" if unknown else ", ".join(known))]
    for each in known.values():
        if not each.is_installed and (each.name in settings.formats or not settings.formats):
            checks.append(Check(each.name, False, f"pip install 'stenobus-ingest[{each.extra}]'"))
    try:
        keys = settings.upload_keys
    except SettingsError as error:
        checks.append(Check("uploads", False, str(error)))
    else:
        checks.append(Check("uploads", True, f"{len(keys)} keys" if keys else "off: no STENOBUS_INGEST_UPLOAD_KEY"))
    return checks


@plugin.handler(concurrency=2, timeout=3600, attempts=5, requests=[LlmRequest])
async def ingest(event: MediaUploaded, ctx: Context[Settings, Reader]) -> tuple[IngestDone, KbSync] | None:
    """Read a document. Recordings, transcripts and images belong to other plugins."""
    kind = kind_of(event)
    if kind not in {Kind.DOCUMENT, None}:
        return None
    place = Place.of(event, ctx.settings)
    if await superseded(event, ctx):
        ctx.note(left="the object was replaced or removed")
        return None
    data = await _content(event.media, ctx)
    if kind is None and kind_by_content(data[:HEAD]) is not Kind.DOCUMENT:
        return None
    await ctx.progress(0.1, f"reading {event.media.title}")
    reading = await _read(event.media, data, ctx)
    if reading.left:
        ctx.note(format=reading.format, left="by the setting formats")
        return None
    known = event.media.model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    return await _handed_on(event.model_copy(update={"media": known}), place, reading, ctx)


@plugin.handler(name="ingest-recognised", concurrency=2, timeout=3600, attempts=5, requests=[LlmRequest])
async def recognised(event: OcrDone, ctx: Context[Settings, Reader]) -> tuple[IngestDone, KbSync] | None:
    """Take the text that another plugin recognised in an image or a scan."""
    data = await ctx.read(event.text, limit=ctx.settings.max_bytes)
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise PermanentError(f"The text recognised in {event.media.title} is no UTF-8.") from error
    if not text:
        raise PermanentError(f"No text was recognised in {event.media.title}; look whether it has any.")
    origin = MediaUploaded(media=event.media, language=event.language, metadata=event.metadata)
    reading = Reading(format="ocr", markdown=text, pages=event.pages, language=event.language)
    return await _handed_on(origin, Place.of(origin, ctx.settings), reading, ctx)


@plugin.handler(name="ingest-notified", concurrency=4, timeout=300)
async def notified(event: StoreNotified, ctx: Context[Settings, Reader]) -> list[MediaUploaded | KbSync]:
    """Turn a store's notification into uploads and removals, once per object and version."""
    return await take(event, ctx)


async def _handed_on(
    event: MediaUploaded, place: Place, reading: Reading, ctx: Context[Settings, Reader]
) -> tuple[IngestDone, KbSync] | None:
    """Store a document's text and record; what to tell of it, or None when it is out of date by now."""
    text = await ctx.store(reading.markdown.encode(), "text/markdown")
    await ctx.progress(0.5, "describing it")
    found = await describe(event, reading, text, ctx)
    record = IngestedDocument(
        media=event.media,
        format=reading.format,
        text=text,
        facts=found.facts,
        method=found.method,
        model=found.model,
        author=reading.author,
        created=reading.created,
        modified=reading.modified,
        language=event.language or reading.language,
        pages=reading.pages,
        warnings=(*reading.warnings, *found.warnings),
        metadata=event.metadata,
    )
    stored = await ctx.store_model(record)
    ctx.note(
        format=record.format,
        method=record.method,
        model=record.model,
        pages=record.pages,
        characters=len(reading.markdown),
        document_type=record.facts.document_type,
        record=stored.uri,
        collection=place.collection,
        warnings=list(record.warnings),
    )
    if await superseded(event, ctx):  # reading takes its time, and what it read must not come after what is newer
        ctx.note(left="the object was replaced or removed")
        return None
    done = IngestDone(
        media=record.media,
        title=record.facts.title,
        collection=place.collection,
        document_id=place.id,
        format=record.format,
        text=text,
        record=stored,
        method=record.method,
        metadata=event.metadata,
    )
    document = KbDocument(
        id=place.id,
        title=record.facts.title,
        content=text,
        uri=place.uri,
        metadata={
            name: value
            for name, value in {
                "format": record.format,
                "document_type": record.facts.document_type,
                "method": record.method,
                "language": record.language,
                "author": record.author,
                "pages": record.pages,
                "record": stored.uri,
            }.items()
            if value is not None
        },
        principals=place.principals,
    )
    return done, KbSync(collection=place.collection, upsert=(document,), source=SOURCE)


async def _content(media: Media, ctx: Context[Settings, Reader]) -> bytes:
    limit = ctx.settings.max_bytes
    if media.size is not None and media.size > limit:
        raise PermanentError(f"{media.title} has {media.size} bytes, and at most {limit} are read; raise max_bytes.")
    data = await ctx.read(media, limit=limit)
    if not data:
        raise PermanentError(f"{media.title} is empty; upload it again.")
    return data


async def _read(media: Media, data: bytes, ctx: Context[Settings, Reader]) -> Reading:
    """The document's text, kept under its content, its name, and who reads it."""
    settings = ctx.settings

    async def read() -> Reading:
        with tempfile.TemporaryDirectory(prefix="stenobus-") as folder:
            path = Path(folder) / "document"
            await asyncio.to_thread(path.write_bytes, data)
            try:
                return await ctx.state.read(path, media.title, media.content_type)
            except Unreadable as error:
                ctx.note(reason=error.reason)
                raise PermanentError(f"{media.title} {error}") from error
            except Overdue as error:
                raise RetryableError(f"{media.title} {error}; the machine may be overloaded.") from error

    return await ctx.cached(
        Reading,
        read,
        VERSION,
        hashlib.sha256(data).hexdigest(),
        media.title,
        media.content_type,
        list(settings.formats),
        await asyncio.to_thread(others),
    )
