"""Stage 2: find the facts, each with words of the recording that say so."""

from __future__ import annotations

from collections import Counter
from functools import partial

from pydantic import Field

from stenobus_contracts import (
    EXTRACT,
    DocCleaned,
    DocExtracted,
    ExtractInputs,
    Extraction,
    Item,
    LlmRequest,
    Segment,
    StageUsage,
    Transcript,
)
from stenobus_core import Context, Plugin

from .asking import AskingSettings, CutOff, Question, total
from .chunks import CEILING, LEAST, line, pack, room
from .concurrency import bounded
from .grounding import ground, merge
from .handing import advance, counted

QUESTION = Question("extract", version=1, task=EXTRACT, output=Extraction)


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


@plugin.handler(concurrency=2, timeout=7200, attempts=5, requests=[LlmRequest])
async def extract(event: DocCleaned, ctx: Context[Settings, None]) -> DocExtracted:
    """Ask about every chunk, verify the evidence, merge what the chunks found."""
    transcript = await ctx.read_model(event.transcript, Transcript)
    speech = [_bare(segment) for segment in transcript.segments if segment.kind == "speech"]
    budget = min(ctx.settings.max_tokens_per_chunk, room(await ctx.facts(LlmRequest), ctx.settings.target))
    chunks = pack(speech, budget, ctx.settings.overlap_segments)
    done = 0

    async def one(chunk: tuple[Segment, ...]) -> _Found:
        nonlocal done
        found = await _extract(event, ctx, chunk)
        done += 1
        await ctx.progress(done / len(chunks), f"chunk {done} of {len(chunks)}")
        return found

    found = await bounded(ctx.settings.parallel_requests, [partial(one, chunk) for chunk in chunks])
    items = merge(each.items for each in found)
    dropped = sum((each.dropped for each in found), Counter[str]())
    warnings = counted(dropped, "item")
    if not items:
        warnings.append("Nothing was found in the recording that a document could state.")
    ctx.note(chunks=len(chunks), items=len(items), dropped=sum(dropped.values()))
    return advance(
        event,
        DocExtracted,
        total("extract", (usage for each in found for usage in each.usages), warnings),
        extraction=await ctx.store_model(Extraction(items=tuple(items))),
        chunks_processed=len(chunks),
    )


class _Found:
    """What came of one chunk, or of its halves."""

    def __init__(self, items: list[Item], dropped: Counter[str], usages: list[StageUsage]) -> None:
        self.items, self.dropped, self.usages = items, dropped, usages


async def _extract(event: DocCleaned, ctx: Context[Settings, None], chunk: tuple[Segment, ...]) -> _Found:
    inputs = ExtractInputs(title=event.source.title, language=event.source.language, segments=chunk)
    try:
        answer = await QUESTION.ask(
            ctx,
            ctx.settings,
            inputs,
            title=event.source.title,
            transcript="\n".join(map(line, chunk)),
        )
    except CutOff:
        if len(chunk) == 1:
            raise
        halves = [await _extract(event, ctx, half) for half in (chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :])]
        return _Found(
            [item for half in halves for item in half.items],
            halves[0].dropped + halves[1].dropped,
            halves[0].usages + halves[1].usages,
        )
    grounded = ground(answer.value.items, chunk)
    return _Found(grounded.items, grounded.dropped, [answer.usage])


def _bare(segment: Segment) -> Segment:
    """The segment without its words: nobody who answers needs their times, and a request has to stay small."""
    return segment.model_copy(update={"words": (), "confidence": None})
