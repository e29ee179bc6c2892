"""Stage 5: write the sections, and assemble the Markdown document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pydantic import Field, JsonValue

from stenobus_contracts import (
    WRITE,
    DocDrafted,
    DocOutlined,
    DocumentSource,
    Item,
    LlmRequest,
    Outline,
    OutlineSection,
    ProblemMatrix,
    SectionText,
    Transcript,
    WriteInputs,
)
from stenobus_core import Context, Plugin
from stenobus_core.tokens import tokens_of

from .asking import AskingSettings, CutOff, Question, halve
from .chunks import CEILING
from .concurrency import bounded
from .draft import assemble
from .dropped import Sifted
from .handing import advance, item_line, row_line
from .markdown import code, escape, outside_code
from .phrases import phrases, spoken
from .tally import Tally
from .text import printable
from .vetting import Vetting

QUESTION = Question("write", version=2, task=WRITE, output=SectionText)

#: Tokens of the longest answer of a model that does not say how long its answers may be.
ANSWER: Final = 4096
#: Characters of text that a character of an item may become, and that any part may have: more is a model that loops.
STRETCH, SHORTEST = 10, 10_000
#: How often a section may hold the same line.
REPEATS: Final = 3


class Settings(AskingSettings):
    """Whom to ask, and for how many sections at once."""

    parallel_requests: int = Field(default=4, ge=1, le=64, description="sections asked for at the same time")


plugin = Plugin(
    "documents-write", summary="Documents, stage 5: write the Markdown, section by section", settings=Settings
)


@plugin.handler(concurrency=2, timeout=7200, attempts=5, requests=[LlmRequest])
async def write(event: DocOutlined, ctx: Context[Settings, None]) -> DocDrafted:
    """Ask for every section by itself, and for a long one in parts, so that nothing is cut off at an output limit."""
    transcript = await ctx.read_model(event.transcript, Transcript)
    sifted = await ctx.read_model(event.extraction, Sifted)
    items = sifted.items
    matrix = await ctx.read_model(event.matrix, ProblemMatrix)
    outline = await ctx.read_model(event.outline, Outline)
    tally = Tally(ctx, "write", max(1, len(outline.sections)), "section")
    answer = ctx.settings.max_output_tokens or output_limit(await ctx.facts(LlmRequest), ctx.settings.target)
    writing = _Writing(event, ctx, tally, outline, items, matrix, budget=answer // 2)
    texts = await bounded(
        ctx.settings.parallel_requests, [partial(writing.section, section) for section in outline.sections]
    )
    speech = [segment for segment in transcript.segments if segment.kind == "speech"]
    vetting = Vetting(speech, items, event.source.title, translated=translated(event.source))
    standing, texts = vetted(vetting, outline, items, texts, phrases(event.source).other)
    if "local" not in {stage.method for stage in event.stages if stage.stage == "outline"}:
        outline = standing  # headings that code made, of times or of names, claim nothing
    warnings = [*writing.warnings, *vetting.warnings]
    if tally.usage().method == "extractive" and untranslated(event.source):
        warnings.append(f"it was asked for in {event.source.document_language}, but only a language model translates")
    usage = tally.usage(warnings)
    draft, found = assemble(event, transcript, outline, matrix, sifted, texts, usage)
    ctx.note(sections=len(outline.sections), characters=len(draft))
    return advance(
        event,
        DocDrafted,
        usage.model_copy(update={"warnings": (*usage.warnings, *found)}),
        draft=await ctx.store(draft.encode(), "text/markdown"),
    )


@dataclass
class _Writing:
    """Writes a document, section by section."""

    event: DocOutlined
    ctx: Context[Settings, None]
    tally: Tally
    outline: Outline
    items: Sequence[Item]
    matrix: ProblemMatrix
    #: Estimated tokens of items in one question.
    budget: int
    _told: Counter[str] = field(default_factory=Counter)

    @property
    def warnings(self) -> list[str]:
        """What is in doubt about the sections, a sentence each, in an order of its own."""
        return [f"{count} {what}" for what, count in sorted(self._told.items())]

    async def section(self, section: OutlineSection) -> str:
        """The Markdown of a section. What the model says nothing usable about stands as it was extracted."""
        own = [item for item in self.items if item.id in section.items]
        texts: list[str] = []
        for part in parted(own, self.budget):
            left: list[Item] = []
            texts += filter(None, await halve(part, partial(self._ask, section), left))
            if left:
                self._told["items stand as they were extracted: the text about them was cut off"] += len(left)
                texts.append(told(left))
        await self.tally.unit_done()
        return "\n\n".join(texts)

    async def _ask(self, section: OutlineSection, own: Sequence[Item]) -> str:
        source, ids = self.event.source, {item.id for item in own}
        rows = tuple(
            row
            for row in self.matrix.rows
            if ids & {row.problem, *row.diagnosis, *row.debugging, *row.solution, *row.prevention}
        )
        lines = "\n".join(item_line(item, quote=True) for item in own)
        answer = await QUESTION.ask(
            self.ctx,
            self.ctx.settings,
            self.tally,
            WriteInputs(
                title=self.outline.title,
                language=source.language,
                document_language=source.document_language,
                heading=section.heading,
                items=tuple(own),
                rows=rows,
            ),
            title=self.outline.title,
            heading=section.heading,
            items=lines,
            rows="\n".join(map(row_line, rows)),
        )
        text = printable(answer.markdown)
        if len(text) > max(SHORTEST, STRETCH * len(lines)):
            raise CutOff("The text is far longer than what it is about.")
        text, repeated = unrepeated(text)
        if repeated:
            self._told["repeated lines dropped"] += repeated
        if not any(letter.isalnum() for letter in text):
            self._told["items stand as they were extracted: the text about them was empty"] += len(own)
            return told(own)
        return text


def vetted(
    vetting: Vetting, outline: Outline, items: Sequence[Item], texts: Sequence[str], other: str
) -> tuple[Outline, list[str]]:
    """Outline and sections with nothing in them that was not said; an item whose text went is told as it stands."""
    kept: list[str] = []
    for section, text in zip(outline.sections, texts, strict=True):
        text, lost = vetting.section(text, [item for item in items if item.id in section.items])
        kept.append("\n\n".join(filter(None, (text.strip("\n"), told(lost)))))
    return vetting.outline(outline, other), kept


def untranslated(source: DocumentSource) -> bool:
    """Whether the document is wanted in another language than that of its recording."""
    return translated(source) and spoken(source) != ""


def translated(source: DocumentSource) -> bool:
    """Whether the document is asked for in a language that the recording is not known to have."""
    return source.document_language not in {None, spoken(source)}


def parted(items: Sequence[Item], budget: int) -> list[list[Item]]:
    """The items of a section in parts of at most ``budget`` estimated tokens, each of one item at least."""
    parts: list[list[Item]] = []
    used = 0
    for item in items:
        size = tokens_of(item_line(item, quote=True)) + 1
        if not parts or used + size > budget:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += size
    return parts


def output_limit(facts: Mapping[str, JsonValue], target: str | None) -> int:
    """Tokens of the longest answer that every model gives which may be asked; :data:`CEILING` where none is known.

    Args:
        facts: what the router says about itself.
        target: the target that will be asked; any of them when None.
    """
    targets = facts.get("targets")
    models = [
        each
        for each in (targets if isinstance(targets, list) else [])
        if isinstance(each, dict) and target in {None, each.get("name")} and each.get("kind") != "extractive"
    ]
    limits = [limit if isinstance(limit := each.get("output_limit"), int) else ANSWER for each in models]
    return min(limits, default=CEILING)


def told(items: Sequence[Item]) -> str:
    """The items as Markdown without a model's help."""
    return "\n".join(
        f"- {code(item.text) if item.kind == 'command' else escape(item.text)} [{item.id}]" for item in items
    )


def unrepeated(text: str) -> tuple[str, int]:
    """The text without lines that stand in it again and again, and how many these were.

    Code and short lines may repeat themselves.
    """
    seen: Counter[str] = Counter()
    dropped = 0

    def line(text: str) -> str:
        nonlocal dropped
        key = text.strip()
        seen[key] += 1
        if len(key) < 20 or seen[key] <= REPEATS:
            return text
        dropped += 1
        return ""

    return outside_code(text, line), dropped
