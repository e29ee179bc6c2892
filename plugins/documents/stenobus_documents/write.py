"""Stage 5: write the sections, and assemble the Markdown document."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field, field_validator

from stenobus_contracts import (
    WRITE,
    DocDrafted,
    DocOutlined,
    Extraction,
    Item,
    LlmRequest,
    Outline,
    OutlineSection,
    ProblemMatrix,
    ProblemRow,
    SectionText,
    Transcript,
    WriteInputs,
)
from stenobus_core import Context, Plugin

from .asking import Answer, AskingSettings, Question, total
from .concurrency import bounded
from .draft import assemble
from .handing import advance, item_line, row_line
from .text import printable


class Section(SectionText):
    """A section that says something."""

    markdown: str = Field(min_length=1)

    @field_validator("markdown")
    @classmethod
    def _says_something(cls, markdown: str) -> str:
        if not any(letter.isalnum() for letter in markdown):
            raise ValueError("the section is empty")
        return printable(markdown)


QUESTION = Question("write", version=1, task=WRITE, output=Section)


class Settings(AskingSettings):
    """Whom to ask, and for how many sections at once."""

    parallel_requests: int = Field(default=4, ge=1, le=64, description="sections asked for at the same time")


plugin = Plugin(
    "documents-write", summary="Documents, stage 5: write the Markdown, section by section", settings=Settings
)


@plugin.handler(concurrency=2, timeout=7200, attempts=5, requests=[LlmRequest])
async def write(event: DocOutlined, ctx: Context[Settings, None]) -> DocDrafted:
    """Ask for every section by itself, so that none is cut off at an output limit, and put them together."""
    transcript = await ctx.read_model(event.transcript, Transcript)
    items = (await ctx.read_model(event.extraction, Extraction)).items
    matrix = await ctx.read_model(event.matrix, ProblemMatrix)
    outline = await ctx.read_model(event.outline, Outline)
    done = 0

    async def one(section: OutlineSection) -> Answer[Section]:
        nonlocal done
        answer = await _section(event, ctx, outline, section, items, matrix.rows)
        done += 1
        await ctx.progress(done / len(outline.sections), f"section {done} of {len(outline.sections)}")
        return answer

    sections = [partial(one, section) for section in outline.sections]
    answers = await bounded(ctx.settings.parallel_requests, sections)
    usage = total("write", (answer.usage for answer in answers))
    texts = [answer.value.markdown for answer in answers]
    draft, warnings = assemble(event, transcript, outline, matrix, items, texts, usage)
    ctx.note(sections=len(outline.sections), characters=len(draft))
    return advance(
        event,
        DocDrafted,
        usage.model_copy(update={"warnings": (*usage.warnings, *warnings)}),
        draft=await ctx.store(draft.encode(), "text/markdown"),
    )


async def _section(
    event: DocOutlined,
    ctx: Context[Settings, None],
    outline: Outline,
    section: OutlineSection,
    items: Sequence[Item],
    rows: Sequence[ProblemRow],
) -> Answer[Section]:
    own = tuple(item for item in items if item.id in section.items)
    naming = tuple(
        row for row in rows if {row.problem, *row.diagnosis, *row.solution, *row.prevention} & set(section.items)
    )
    return await QUESTION.ask(
        ctx,
        ctx.settings,
        WriteInputs(
            title=outline.title, language=event.source.language, heading=section.heading, items=own, rows=naming
        ),
        title=outline.title,
        heading=section.heading,
        items="\n".join(item_line(item, quote=True) for item in own),
        rows="\n".join(map(row_line, naming)),
    )
