"""documents.outline without a model: one problem by kind, several one after the other, and a summary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stenobus_contracts import Item, ItemKind, Outline, OutlineInputs, OutlineSection, ProblemRow

from .centrality import Vectors
from .language import Language, choose, words
from .matrix import in_time

#: Kinds in the order of a troubleshooting document; facts close it.
ORDER: tuple[ItemKind, ...] = (
    "symptom", "diagnosis", "cause", "solution", "command", "prevention", "risk", "rule", "configuration", "fact",
)  # fmt: skip
#: Sentences in a summary, and how many have to say what the whole is about, lest others fill it.
SUMMARY, ABOUT = 4, 2
#: Seconds from which notes are a timeline.
LONG = 900.0
#: Characters of a heading.
HEADING = 110

_CLAUSE = re.compile(r"[,;:]\s+|\s[-–—]\s|[.!?…]+(?:\s+|$)")


def outline(inputs: OutlineInputs) -> Outline:
    """The sections that have something in them, with headings in the language of the recording.

    A recording of several problems has a section for each, in order of time, so that nobody has to look for the fix of
    the second among those of the others; otherwise there is a section for each kind.
    """
    items = in_time(inputs.items)
    language = choose(inputs.language, (item.evidence.quote for item in items))
    summary = _summary(items, language)
    rest = [item for item in items if item not in summary]
    sections = [(language.headings["summary"], summary)]
    problems = _problems(rest, inputs.rows)
    if len(problems) > 1:
        before = rest[: problems[0][0]]
        sections.append((language.headings["fact"], before))
        for number, (first, named) in enumerate(problems, start=1):
            last = problems[number][0] if number < len(problems) else len(rest)
            sections.append((f"{number}. {_heading(named.text, language)}", rest[first:last]))
    else:
        for kind in ORDER[:-1]:
            sections.append((language.headings[kind], [item for item in items if item.kind == kind]))
        facts = [item for item in rest if item.kind == "fact"]
        sections.append((language.headings["timeline" if _span(facts) >= LONG else "fact"], facts))
    return Outline(
        title=inputs.title[:300] or language.headings["summary"],
        sections=tuple(
            OutlineSection(heading=heading, items=tuple(item.id for item in members))
            for heading, members in sections
            if members
        ),
    )


def _problems(items: Sequence[Item], rows: Sequence[ProblemRow]) -> list[tuple[int, Item]]:
    """Where each problem begins, and what it is called; one that nothing is told about belongs to the one before."""
    place = {item.id: number for number, item in enumerate(items)}
    explained = [row for row in rows if row.problem in place and (row.diagnosis or row.solution or row.prevention)]
    found: list[tuple[int, Item]] = []
    for row in sorted(explained, key=lambda row: place[row.problem]):
        first = place[row.problem]
        least = found[-1][0] + 1 if found else 0
        # What else was seen, and what led over to it, stands before the symptom that names it.
        while first > least and items[first - 1].kind in {"symptom", "fact"}:
            first -= 1
        found.append((first, items[place[row.problem]]))
    return found


def _heading(sentence: str, language: Language) -> str:
    """The words of a sentence as a heading; of a long one, a clause that tells a symptom."""
    whole = sentence.strip().rstrip(".!…")
    if len(whole) <= HEADING:
        return whole
    clauses = [clause for clause in map(str.strip, _CLAUSE.split(whole)) if clause]
    telling = max(clauses, key=lambda clause: (_points(clause, language), len(clause)))
    return telling if len(telling) <= HEADING else telling[:HEADING].rpartition(" ")[0] + " …"


def _points(clause: str, language: Language) -> int:
    return sum(weight for _, _, (kind, weight) in language.cues.find(words(clause)) if kind == "symptom")


def _summary(items: Sequence[Item], language: Language) -> list[Item]:
    """The facts that say what the whole is about, or else the most central ones; in order of time.

    Facts have no section of their own kind, so that the summary takes nothing away from the sections after it.
    """
    texts = [words(item.evidence.quote) for item in items]
    facts = [index for index, item in enumerate(items) if item.kind == "fact"]
    about = [index for index in facts if language.topics.occur(texts[index])]
    if len(about) < ABOUT:
        centrality = Vectors(texts, language).centrality()
        others = [index for index in facts if index not in about and not language.turns.occur(texts[index])]
        others.sort(key=lambda index: (language.leans(texts[index]), -centrality[index], index))
        about += others
    return [items[index] for index in sorted(about[:SUMMARY])]


def grouped(items: Sequence[Item], language: Language) -> Iterator[tuple[str, list[Item]]]:
    """The items by kind, each kind with its heading. A command whose sentence is told under another kind is in it."""
    told = {item.evidence.quote for item in items if item.kind != "command"}
    for kind in ORDER:
        members = [
            item for item in items if item.kind == kind and not (kind == "command" and item.evidence.quote in told)
        ]
        if members:
            yield language.headings[kind], members


def _span(items: Sequence[Item]) -> float:
    times = [item.evidence.start for item in items if item.evidence.start is not None]
    return max(times) - min(times) if times else 0.0
