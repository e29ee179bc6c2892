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
)
from stenobus_core import Context, Plugin

from .asking import AskingSettings, CutOff, Question, halve
from .handing import advance, item_line, row_line
from .phrases import phrases
from .tally import Tally
from .text import one_line

QUESTION = Question("outline", version=2, task=OUTLINE, output=Outline)
#: Longest title, in characters.
TITLE = 300
#: Most sections: each is written by a request of its own, and a model that loops has no end of them.
SECTIONS = 40


class Settings(AskingSettings):
    """Whom to ask."""


plugin = Plugin("documents-outline", summary="Documents, stage 4: plan the sections", settings=Settings)


@plugin.handler(concurrency=2, timeout=1800, attempts=5, requests=[LlmRequest])
async def plan(event: DocMapped, ctx: Context[Settings, None]) -> DocOutlined:
    """Ask for the outline, and see to it that every item has its place.

    Where the items are too many for one question, each part is asked for by itself, and knows the headings of the
    parts before it.
    """
    items = (await ctx.read_model(event.extraction, Extraction)).items
    rows = (await ctx.read_model(event.matrix, ProblemMatrix)).rows
    source, tally = event.source, Tally(ctx, "outline")
    headings: list[str] = []
    left: list[Item] = []

    async def ask(part: Sequence[Item]) -> Outline:
        own = {item.id for item in part}
        naming = tuple(row for row in rows if row.problem in own)
        outline = await QUESTION.ask(
            ctx,
            ctx.settings,
            tally,
            OutlineInputs(
                title=source.title,
                language=source.language,
                document_language=source.document_language,
                items=tuple(part),
                rows=naming,
            ),
            title=source.title,
            headings="\n".join(headings),
            items="\n".join(map(item_line, part)),
            rows="\n".join(map(row_line, naming)),
        )
        headings.extend(dict.fromkeys(one_line(section.heading) for section in outline.sections[:SECTIONS]))
        return outline

    outline = Outline(title=source.title[:TITLE])
    warnings: list[str] = []
    if items:
        answers = await halve(items, ask, left)
        if not answers:
            raise CutOff(
                "The answers to documents.outline are cut off even for a few items; set target of documents-outline to "
                "a provider or model that takes more."
            )
        outline, warnings = complete(joined(answers), items, source.title, phrases(source).other)
    await tally.unit_done()
    ctx.note(sections=len(outline.sections))
    return advance(event, DocOutlined, tally.usage(warnings), outline=await ctx.store_model(outline))


def joined(parts: Sequence[Outline]) -> Outline:
    """One outline of several: the first one's title, and sections of the same heading in one."""
    sections: dict[str, OutlineSection] = {}
    for section in (section for part in parts for section in part.sections):
        before = sections.get(one_line(section.heading).casefold())
        items = (*before.items, *section.items) if before else section.items
        sections[one_line(section.heading).casefold()] = (before or section).model_copy(update={"items": items})
    return Outline(title=parts[0].title, sections=tuple(sections.values()))


def complete(outline: Outline, items: Sequence[Item], title: str, other: str) -> tuple[Outline, list[str]]:
    """Unknown ids and empty sections gone, what was forgotten in a last section.

    Args:
        outline: as it was answered.
        items: all items.
        title: of the document, should the outline have none.
        other: heading of the last section.
    """
    known = {item.id for item in items}
    left = set(known)
    unknown = 0
    sections: list[OutlineSection] = []
    for section in outline.sections[:SECTIONS]:
        unknown += sum(each not in known for each in section.items)
        own = tuple(each for each in dict.fromkeys(section.items) if each in known)
        left -= set(own)  # a summary may tell again what another section has
        if own:
            sections.append(OutlineSection(heading=one_line(section.heading).lstrip("# ") or other, items=own))
    warnings = [f"{unknown} unknown item ids dropped from the outline"] if unknown else []
    if len(outline.sections) > SECTIONS:
        warnings.append(f"{len(outline.sections) - SECTIONS} of {len(outline.sections)} sections dropped")
    if left:
        sections.append(OutlineSection(heading=other, items=tuple(item.id for item in items if item.id in left)))
        warnings.append(f"{len(left)} items that the outline forgot are in the section {other!r}")
    return Outline(title=one_line(outline.title) or title[:TITLE], sections=tuple(sections)), warnings
