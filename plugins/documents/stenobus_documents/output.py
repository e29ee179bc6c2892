"""Stage 6: Markdown, DOCX, HTML and PDF, stored and announced."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator
from pydantic_settings import NoDecode

from stenobus_contracts import (
    BlobRef,
    DocDrafted,
    DocReady,
    ExtraFormat,
    NotCarried,
    Outline,
    OutputOptions,
    ProblemMatrix,
    StageUsage,
    Transcript,
)
from stenobus_core import Check, Context, Plugin, PluginError, PluginSettings

from .dropped import Sifted
from .provenance import method_of
from .quality import Quality, assess

#: Goes up when the same Markdown would be rendered differently.
VERSION = 5


class Settings(PluginSettings):
    """What is made of a draft, and how it looks."""

    page: Literal["A4", "Letter"] = Field(default="A4", description="paper size, unless a template says it")
    author: str = Field(default="Stenobus", max_length=200, description="author in the document's properties")
    template: Path | None = Field(
        default=None, description="DOCX or DOTX whose styles, page, header and footer documents take"
    )
    formats: Annotated[tuple[ExtraFormat, ...], NoDecode] = Field(
        default=("html",), description="what to make beside Markdown and DOCX, separated by commas: html, pdf"
    )
    renderer: Literal["python-docx", "pandoc"] = Field(
        default="python-docx", description="what writes the DOCX; pandoc needs `stenobus-documents[pandoc]`"
    )
    image_sources: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="beginnings of addresses that images may be read from, separated by commas, such as "
        "s3://company-assets/; the store that the draft lies in is always one",
    )
    max_characters: int = Field(default=5_000_000, ge=1000, description="characters that a draft may have")

    @field_validator("formats", "image_sources", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("template", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None

    @field_validator("image_sources")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for source in value:
            if "://" not in source or not source.endswith("/"):
                raise ValueError(
                    f"{source} is no beginning of an address; write scheme://place/ with a slash at its end"
                )
        return value


plugin = Plugin("documents-output", summary="Documents, stage 6: store Markdown and DOCX", settings=Settings)


@plugin.lifespan
async def ready(settings: Settings) -> AsyncIterator[bytes | None]:
    """The template, read and checked once."""
    from .formats import backend  # python-docx, lxml and pygments take longer to import than the rest of the plugin

    backend(settings.renderer)
    yield _template(settings)[0]


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether everything that is set is there."""
    from . import pdf
    from .formats import backend
    from .word.template import lacking

    checks = []
    try:
        checks.append(Check("renderer", True, backend(settings.renderer)[1]))
    except PluginError as error:
        checks.append(Check("renderer", False, str(error)))
    if settings.template:
        try:
            checks.append(Check("template", True, lacking(_template(settings)[1]) or "has all styles"))
        except PluginError as error:
            checks.append(Check("template", False, str(error)))
    if "pdf" in settings.formats:
        found = pdf.program()
        checks.append(Check("PDF", found is not None, found or "LibreOffice (soffice) is not installed"))
    return checks


def _template(settings: Settings) -> tuple[bytes | None, list[str]]:
    """The template that is set, and what it lacks.

    Raises:
        PluginError: it cannot be read or used.
    """
    from .word.template import TemplateError, check

    if settings.template is None:
        return None, []
    try:
        data = settings.template.read_bytes()
        return data, check(data)
    except OSError as error:
        raise PluginError(f"The template {settings.template} cannot be read: {error.strerror}.") from error
    except TemplateError as error:
        raise PluginError(f"{settings.template}: {error}") from error


@plugin.handler(concurrency=2, timeout=600, attempts=5)
async def output(event: DocDrafted, ctx: Context[Settings, bytes | None]) -> DocReady:
    """Render the draft as DOCX, and as HTML and PDF where wanted; equal drafts give equal DOCX and HTML."""
    from .formats import Renderings, Wanted, backend, make, make_pdf, sentence
    from .pdf import NoPdf
    from .word import Look
    from .word.template import PACKED

    asked = event.source.output or OutputOptions()
    formats = ctx.settings.formats if asked.formats is None else asked.formats
    template = await ctx.read(asked.template, PACKED) if asked.template else ctx.state
    wanted = Wanted(
        look=Look(ctx.settings.page, ctx.settings.author, template),
        backend=ctx.settings.renderer,
        html="html" in formats,
        image_sources=ctx.settings.image_sources,
        longest=ctx.settings.max_characters,
    )
    made_from: dict[str, JsonValue] = {
        "page": wanted.look.page,
        "author": wanted.look.author,
        "template": hashlib.sha256(template or b"").hexdigest(),
        "renderer": backend(wanted.backend)[1],
        "html": wanted.html,
        "images": list(wanted.image_sources),
    }
    result = await ctx.cached(Renderings, lambda: make(event.draft, wanted, ctx), VERSION, event.draft, made_from)
    lost, printed = result.not_carried, None
    if "pdf" in formats:
        try:
            printed = await ctx.cached(BlobRef, lambda: make_pdf(result.docx, ctx), VERSION, result.docx)
        except NoPdf as error:
            lost = (*lost, NotCarried(output="pdf", feature="document", count=1, reason=str(error)))
    warnings = (*map(sentence, lost), *result.notes)
    stages = (*event.stages, StageUsage(stage="output", method="local", cost_usd=Decimal(0), warnings=warnings))
    quality = await _assess(event, ctx, stages)
    ctx.note(docx_bytes=result.docx.size, sound=quality.sound)
    return DocReady(
        title=result.title or event.source.title,
        source=event.source,
        markdown=event.draft,
        docx=result.docx,
        quality=await ctx.store(quality.model_dump_json(indent=2, exclude_none=True).encode(), "application/json"),
        html=result.html,
        pdf=printed,
        not_carried=lost,
        transcript=event.transcript,
        method=method_of(stages),
        stages=stages,
        chunks_processed=event.chunks_processed,
        warnings=tuple(f"{stage.stage}: {warning}" for stage in stages for warning in stage.warnings),
    )


async def _assess(event: DocDrafted, ctx: Context[Settings, bytes | None], stages: Sequence[StageUsage]) -> Quality:
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
