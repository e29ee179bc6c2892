"""documents.outline without a model: sections by kind, and a summary of the most telling facts."""

from __future__ import annotations

from collections.abc import Sequence

from stenobus_contracts import Item, ItemKind, Outline, OutlineInputs, OutlineSection

from .centrality import Vectors
from .language import Language, choose, words
from .matrix import in_time

#: Sections in the order of a troubleshooting document; facts close it.
ORDER: tuple[ItemKind, ...] = (
    "symptom", "diagnosis", "cause", "solution", "command", "prevention", "risk", "rule", "configuration",
)  # fmt: skip
#: Sentences in a summary.
SUMMARY = 4
#: Seconds from which notes are a timeline.
LONG = 900.0


def outline(inputs: OutlineInputs) -> Outline:
    """The sections that have something in them, with headings in the language of the recording."""
    items = in_time(inputs.items)
    language = choose(inputs.language, (item.evidence.quote for item in items))
    summary = _summary(items, language)
    sections = [(language.headings["summary"], summary)]
    for kind in ORDER:
        sections.append((language.headings[kind], [item for item in items if item.kind == kind]))
    facts = [item for item in items if item.kind == "fact" and item not in summary]
    sections.append((language.headings["timeline" if _span(facts) >= LONG else "fact"], facts))
    return Outline(
        title=inputs.title[:300] or language.headings["summary"],
        sections=tuple(
            OutlineSection(heading=heading, items=tuple(item.id for item in members))
            for heading, members in sections
            if members
        ),
    )


def _summary(items: Sequence[Item], language: Language) -> list[Item]:
    """The facts that say what the whole is about, then the most central ones; in order of time.

    Facts have no section of their own kind, so that the summary takes nothing away from the sections after it.
    """
    texts = [words(item.evidence.quote) for item in items]
    centrality = Vectors(texts, language).centrality()
    facts = [index for index, item in enumerate(items) if item.kind == "fact"]

    def rank(index: int) -> tuple[bool, bool, float, int]:
        return not language.topics.occur(texts[index]), language.leans(texts[index]), -centrality[index], index

    facts.sort(key=rank)
    return [items[index] for index in sorted(facts[:SUMMARY])]


def _span(items: Sequence[Item]) -> float:
    times = [item.evidence.start for item in items if item.evidence.start is not None]
    return max(times) - min(times) if times else 0.0
