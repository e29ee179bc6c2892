"""Stage 6: Markdown and DOCX, stored and announced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from pydantic import Field

from stenobus_contracts import (
    BlobRef,
    DocDrafted,
    DocReady,
    Model,
    NotCarried,
    Outline,
    ProblemMatrix,
    StageUsage,
    Transcript,
)
from stenobus_core import Context, PermanentError, Plugin, PluginSettings

from .draft import method_of
from .dropped import Sifted
from .quality import Quality, assess

DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


#: Goes up when the same Markdown would be rendered differently.
VERSION = 2


class Settings(PluginSettings):
    """How the DOCX looks."""

    page: Literal["A4", "Letter"] = Field(default="A4", description="paper size")
    author: str = Field(default="Stenobus", max_length=200, description="author in the document's properties")


class _Rendered(Model):
    """A stored DOCX."""

    docx: BlobRef
    title: str
    not_carried: tuple[NotCarried, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not carried, a sentence each."""
        return tuple(
            f"{loss.count} × {loss.feature} in the {loss.output.upper()}: {loss.reason}" for loss in self.not_carried
        )


plugin = Plugin("documents-output", summary="Documents, stage 6: store Markdown and DOCX", settings=Settings)


@plugin.handler(concurrency=2, timeout=600, attempts=5)
async def output(event: DocDrafted, ctx: Context[Settings, None]) -> DocReady:
    """Render the draft as DOCX; equal drafts give equal bytes."""
    from .manuscript import Manuscript
    from .word import Look, render  # python-docx, lxml and pygments take longer to import than the rest of the plugin

    async def rendered() -> _Rendered:
        draft = (await ctx.read(event.draft)).decode(errors="replace")
        if not draft.strip():
            raise PermanentError("The draft is empty; look at what the write stage answered.")
        manuscript = await asyncio.to_thread(Manuscript.read, draft)
        done = await asyncio.to_thread(render, manuscript, Look(ctx.settings.page, ctx.settings.author))
        docx = await ctx.store(done.docx, DOCX_TYPE)
        return _Rendered(docx=docx, title=manuscript.title, not_carried=done.not_carried)

    result = await ctx.cached(_Rendered, rendered, VERSION, event.draft, ctx.settings.page, ctx.settings.author)
    stages = (*event.stages, StageUsage(stage="output", method="local", cost_usd=Decimal(0), warnings=result.warnings))
    quality = await _assess(event, ctx, stages)
    ctx.note(docx_bytes=result.docx.size, sound=quality.sound)
    return DocReady(
        title=result.title or event.source.title,
        source=event.source,
        markdown=event.draft,
        docx=result.docx,
        quality=await ctx.store(quality.model_dump_json(indent=2, exclude_none=True).encode(), "application/json"),
        not_carried=result.not_carried,
        transcript=event.transcript,
        method=method_of(stages),
        stages=stages,
        chunks_processed=event.chunks_processed,
        warnings=tuple(f"{stage.stage}: {warning}" for stage in stages for warning in stage.warnings),
    )


async def _assess(event: DocDrafted, ctx: Context[Settings, None], stages: Sequence[StageUsage]) -> Quality:
    draft = (await ctx.read(event.draft)).decode(errors="replace")
    return await asyncio.to_thread(
        assess,
        draft,
        await ctx.read_model(event.transcript, Transcript),
        await ctx.read_model(event.extraction, Sifted),
        await ctx.read_model(event.matrix, ProblemMatrix),
        await ctx.read_model(event.outline, Outline),
        stages,
        method_of(stages),
        event.source.title,
    )
