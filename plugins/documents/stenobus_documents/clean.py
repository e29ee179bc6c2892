"""Stage 1: whatever transcript comes in leaves in the internal form, noise and small talk marked."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from decimal import Decimal

from pydantic import Field

from stenobus_contracts import (
    AsrDone,
    BlobRef,
    DocCleaned,
    DocumentLanguage,
    DocumentSource,
    Media,
    Model,
    Recognition,
    StageUsage,
    Transcript,
)
from stenobus_core import Context, PermanentError, Plugin, PluginSettings

from .noise import mark
from .text import one_line, title_from_name
from .transcripts import Limits, TranscriptError, read
from .transcripts.form import language

#: Goes up when the same transcript would come out differently.
VERSION = 1


class Settings(PluginSettings):
    """Limits on what is read, and the language of what is written."""

    max_bytes: int = Field(default=64 * 1024 * 1024, gt=0, description="largest transcript that is read, in bytes")
    max_segments: int = Field(default=200_000, gt=0, description="most segments a transcript may have")
    document_language: DocumentLanguage | None = Field(
        default=None,
        description="language of documents whose job names none: en, pt or es; that of the recording when absent",
    )


class _Cleaned(Model):
    """A transcript in the internal form, and what its file said about itself."""

    transcript: Transcript
    format: str
    engine: str | None = None
    warnings: tuple[str, ...] = ()


plugin = Plugin("documents-clean", summary="Documents, stage 1: read and clean the transcript", settings=Settings)


@plugin.handler(concurrency=2, timeout=600, attempts=5)
async def clean(event: AsrDone, ctx: Context[Settings, None]) -> DocCleaned:
    """Read the transcript, number its segments, mark what is no content."""
    data = await ctx.read(event.transcript, limit=ctx.settings.max_bytes)
    hint = f"{_name(event.transcript)} {event.transcript.content_type or ''}".strip()

    async def parse() -> _Cleaned:
        try:
            return await asyncio.to_thread(_parse, data, hint, ctx.settings.max_segments)
        except TranscriptError as error:
            raise PermanentError(str(error)) from None

    digest = hashlib.sha256(data).hexdigest()
    cleaned = await ctx.cached(_Cleaned, parse, VERSION, digest, hint, ctx.settings.max_segments)
    transcript = cleaned.transcript
    kinds = Counter(segment.kind for segment in transcript.segments)
    if kinds["noise"] == len(transcript.segments):
        raise PermanentError("The transcript holds nothing but noise; check that the recording has speech in it.")
    transcript = transcript.model_copy(update={"language": language(event.language) or transcript.language})
    ctx.note(
        format=cleaned.format, segments=len(transcript.segments), noise=kinds["noise"], small_talk=kinds["small_talk"]
    )
    return DocCleaned(
        source=_source(event, cleaned.engine, transcript, event.document_language or ctx.settings.document_language),
        transcript=await ctx.store_model(transcript),
        stages=(StageUsage(stage="clean", method="local", cost_usd=Decimal(0), warnings=cleaned.warnings),),
    )


def _parse(data: bytes, hint: str, max_segments: int) -> _Cleaned:
    parsed = read(data, name=hint)
    transcript = mark(parsed.transcript(Limits(segments=max_segments)))
    return _Cleaned(transcript=transcript, format=parsed.format, engine=parsed.engine, warnings=tuple(parsed.warnings))


def _source(
    event: AsrDone, engine: str | None, transcript: Transcript, wanted: DocumentLanguage | None
) -> DocumentSource:
    heard = event.recognition or (Recognition(engine=engine) if engine else None)
    duration = event.media.duration_seconds if event.media else None
    return DocumentSource(
        title=title(event),
        media=event.media,
        transcript=event.transcript,
        recognition=heard,
        language=transcript.language,
        document_language=wanted,
        output=event.output,
        duration_seconds=duration or (heard and heard.audio_seconds) or transcript.duration_seconds,
        metadata=event.metadata,
    )


def title(event: AsrDone) -> str:
    """The producer's title, else the recording's name made readable, else the transcript's."""
    given = one_line(event.title or "")
    names = [event.media.title if event.media else "", _name(event.transcript)]
    return given or next((found for found in map(title_from_name, names) if found), "Untitled recording")


def _name(ref: BlobRef | Media) -> str:
    return ref.title if isinstance(ref, Media) else ref.uri.rstrip("/").rpartition("/")[2]
