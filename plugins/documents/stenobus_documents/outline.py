"""Stage 4: give the document its sections."""

from __future__ import annotations

from collections.abc import Sequence

from stenobus_contracts import (
    OUTLINE,
    DocMapped,
    DocOutlined,
    Extraction,
    Item,
    LlmRequest,
    Outline,
    OutlineInputs,
    OutlineSection,
    ProblemMatrix,
    StageUsage,
)
from stenobus_core import Context, Plugin

from .asking import AskingSettings, Question, total
from .handing import advance, item_line, row_line
from .text import one_line

QUESTION = Question("outline", version=1, task=OUTLINE, output=Outline)
#: Longest title, in characters.
TITLE = 300
#: Where items go that no section asked for: a document leaves nothing out silently.
OTHER = "Other findings"


class Settings(AskingSettings):
    """Whom to ask."""


plugin = Plugin("documents-outline", summary="Documents, stage 4: plan the sections", settings=Settings)


@plugin.handler(concurrency=2, timeout=1800, attempts=5, requests=[LlmRequest])
async def plan(event: DocMapped, ctx: Context[Settings, None]) -> DocOutlined:
    """Ask for the outline, and see to it that every item has its place."""
    items = (await ctx.read_model(event.extraction, Extraction)).items
    rows = (await ctx.read_model(event.matrix, ProblemMatrix)).rows
    usages: list[StageUsage] = []
    outline = Outline(title=event.source.title[:TITLE])
    warnings: list[str] = []
    if items:
        answer = await QUESTION.ask(
            ctx,
            ctx.settings,
            OutlineInputs(title=event.source.title, language=event.source.language, items=items, rows=rows),
            title=event.source.title,
            items="\n".join(map(item_line, items)),
            rows="\n".join(map(row_line, rows)),
        )
        usages.append(answer.usage)
        outline, warnings = complete(answer.value, items, event.source.title)
    ctx.note(sections=len(outline.sections))
    return advance(event, DocOutlined, total("outline", usages, warnings), outline=await ctx.store_model(outline))


def complete(outline: Outline, items: Sequence[Item], title: str) -> tuple[Outline, list[str]]:
    """Unknown ids and empty sections gone, what was forgotten in a last section."""
    known = {item.id for item in items}
    left = set(known)
    unknown = 0
    sections: list[OutlineSection] = []
    for section in outline.sections:
        unknown += sum(each not in known for each in section.items)
        own = tuple(each for each in dict.fromkeys(section.items) if each in known)
        left -= set(own)  # a summary may tell again what another section has
        if own:
            sections.append(OutlineSection(heading=one_line(section.heading).lstrip("# ") or OTHER, items=own))
    warnings = [f"{unknown} unknown item ids dropped from the outline"] if unknown else []
    if left:
        sections.append(OutlineSection(heading=OTHER, items=tuple(item.id for item in items if item.id in left)))
        warnings.append(f"{len(left)} items that the outline forgot are in the section {OTHER!r}")
    return Outline(title=one_line(outline.title) or title[:TITLE], sections=tuple(sections)), warnings
