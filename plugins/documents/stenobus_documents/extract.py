"""Stage 2: find the facts, each with words of the recording that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import Field

from stenobus_contracts import (
    EXTRACT,
    DocCleaned,
    DocExtracted,
    ExtractInputs,
    Extraction,
    LlmRequest,
    Segment,
    Transcript,
)
from stenobus_core import Context, PermanentError, Plugin

from .asking import HALVINGS, AskingSettings, Question, halve
from .chunks import CEILING, LEAST, line, pack, room
from .concurrency import bounded
from .dropped import SHOWN, Dropped, Sifted, reasons
from .grounding import Grounded, ground, merge, together
from .handing import advance, counted
from .tally import Tally

QUESTION = Question("extract", version=2, task=EXTRACT, output=Extraction)


class Settings(AskingSettings):
    """How the transcript is cut into chunks, and how many are asked about at once."""

    max_tokens_per_chunk: int = Field(
        default=CEILING,
        ge=LEAST,
        le=CEILING,
        description="most estimated tokens of transcript in one request; fewer where the router's limits are lower",
    )
    overlap_segments: int = Field(
        default=3, ge=0, le=100, description="segments that a chunk repeats of the one before"
    )
    parallel_requests: int = Field(default=4, ge=1, le=64, description="chunks asked about at the same time")


plugin = Plugin("documents-extract", summary="Documents, stage 2: extract facts with evidence", settings=Settings)

#: Share of the segments of speech that may stay unread, because the model finds no end even over few of them; in any
#: case the smallest part of one chunk.
UNREAD = 0.1
#: Items that a segment may hold, and that any chunk may: more is a model that goes round in circles.
PER_SEGMENT, PER_CHUNK = 10, 50


@plugin.handler(concurrency=2, timeout=7200, attempts=5, requests=[LlmRequest])
async def extract(event: DocCleaned, ctx: Context[Settings, None]) -> DocExtracted:
    """Ask about every chunk, verify the evidence, merge what the chunks found."""
    transcript = await ctx.read_model(event.transcript, Transcript)
    speech = [segment for segment in transcript.segments if segment.kind == "speech"]
    budget = min(ctx.settings.max_tokens_per_chunk, room(await ctx.facts(LlmRequest), ctx.settings.target))
    chunks = pack(speech, budget, ctx.settings.overlap_segments)
    allowed = max(UNREAD * len(speech), max(map(len, chunks), default=0) / 2**HALVINGS + 1)
    reading = _Reading(event, ctx, Tally(ctx, "extract", max(1, len(chunks)), "chunk"), allowed)
    found = await bounded(ctx.settings.parallel_requests, [partial(reading.chunk, chunk) for chunk in chunks])
    items = merge(each.items for each in found)
    grounded = together(found)
    warnings = [
        *counted(reasons(grounded.dropped), "item"),
        *counted(grounded.mended, "item", "told in the recording's own words"),
    ]
    if reading.unread:
        warnings.append(f"{_named(reading.unread)} could not be read: the answer was cut off even for so few segments.")
    if not items:
        warnings.append("Nothing was found in the recording that a document could state.")
    ctx.note(chunks=len(chunks), items=len(items), dropped=len(grounded.dropped), unread=len(reading.unread))
    return advance(
        event,
        DocExtracted,
        reading.tally.usage(warnings),
        extraction=await ctx.store_model(Sifted(items=tuple(items), dropped=tuple(grounded.dropped[:SHOWN]))),
        chunks_processed=len(chunks),
    )


@dataclass
class _Reading:
    """Reads a transcript, chunk by chunk."""

    event: DocCleaned
    ctx: Context[Settings, None]
    tally: Tally
    #: Segments that may stay unread.
    allowed: float
    unread: list[Segment] = field(default_factory=list)

    async def chunk(self, chunk: Sequence[Segment]) -> Grounded:
        """What is in a chunk and holds."""
        parts = await halve(chunk, self._ask, self.unread)
        await self.tally.unit_done()
        return together(parts)

    async def _ask(self, chunk: Sequence[Segment]) -> Grounded:
        if len(self.unread) > self.allowed:
            raise PermanentError(
                f"The answers to documents.extract are cut off even for a few segments ({_named(self.unread)}), as "
                "when a model loops; set target of documents-extract to another provider or model."
            )
        source = self.event.source
        answer = await QUESTION.ask(
            self.ctx,
            self.ctx.settings,
            self.tally,
            ExtractInputs(
                title=source.title,
                language=source.language,
                document_language=source.document_language,
                segments=tuple(map(_bare, chunk)),
            ),
            title=source.title,
            transcript="\n".join(map(line, chunk)),
        )
        most = max(PER_CHUNK, PER_SEGMENT * len(chunk))
        grounded = ground(answer.items[:most], chunk)
        grounded.dropped += [
            Dropped.of(item, "there are more than its segments can hold") for item in answer.items[most:]
        ]
        return grounded


def _named(segments: Sequence[Segment]) -> str:
    """Some of the segments by name, and how many others."""
    shown = ", ".join(segment.id for segment in segments[:10])
    return shown if len(segments) <= 10 else f"{shown} and {len(segments) - 10} other segments"


def _bare(segment: Segment) -> Segment:
    """The segment without its words: nobody who answers needs their times, and a request has to stay small."""
    return segment.model_copy(update={"words": (), "confidence": None})
