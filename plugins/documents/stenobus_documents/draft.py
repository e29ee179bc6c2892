"""Assemble the document: front matter, banner, problems and solutions, sections, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from stenobus_contracts import (
    DocOutlined,
    DocumentSource,
    Item,
    Outline,
    OutlineSection,
    ProblemMatrix,
    StageUsage,
    Transcript,
)

from .dropped import Sifted
from .markdown import code, escape, front_matter, outside_code, tame, time_link
from .phrases import Phrases, phrases
from .provenance import method_of, provenance
from .text import clock

_CITED_ITEM = re.compile(r"\[(I\d{3,}(?:\s*[,;]\s*I\d{3,})*)\](?!\()")
_CITED_TIME = re.compile(r"(?<![\w\\])[\[(](\d{2,}:\d{2}:\d{2})[\])](?!\()")
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")


class Links:
    """Turns the evidence of items into links to the recording."""

    def __init__(self, source: DocumentSource, items: Iterable[Item]) -> None:
        self._uri = source.media.uri if source.media else None
        self._sources = phrases(source).sources
        self._items = {item.id: item for item in items}
        self.unknown = 0

    def of(self, item: Item) -> str:
        """The link of one item, empty when its words have no time."""
        start = item.evidence.start
        return "" if start is None else time_link(clock(start), self._uri, start)

    def resolve(self, text: str, own: Sequence[Item]) -> str:
        """The section with every ``[I012]`` as a link; what cites nothing that is known loses its citation.

        Times are believed only where an item of the section was said then. A section that cites nothing names its
        sources at its end.
        """
        times = {clock(item.evidence.start): item for item in own if item.evidence.start is not None}
        cited = 0

        def items(match: re.Match[str]) -> str:
            nonlocal cited
            named = [self._items.get(name) for name in re.split(r"\s*[,;]\s*", match[1])]
            self.unknown += named.count(None)
            links = [self.of(item) for item in named if item]
            cited += len(links)
            return " ".join(dict.fromkeys(filter(None, links)))

        def time(match: re.Match[str]) -> str:
            nonlocal cited
            item = times.get(match[1])
            if item is None:
                self.unknown += 1
                return ""
            cited += 1
            return self.of(item)

        def line(text: str) -> str:
            parts = _CODE_SPAN.split(text)  # odd parts are code and stay as they are
            parts[::2] = [_CITED_TIME.sub(time, _CITED_ITEM.sub(items, part)) for part in parts[::2]]
            return "".join(parts).rstrip()

        resolved = outside_code(text, line)
        links = list(dict.fromkeys(filter(None, map(self.of, own))))
        return resolved if cited or not links else f"{resolved}\n\n*{self._sources}:* {' '.join(links)}"


def assemble(
    event: DocOutlined,
    transcript: Transcript,
    outline: Outline,
    matrix: ProblemMatrix,
    sifted: Sifted,
    texts: Sequence[str],
    usage: StageUsage,
) -> tuple[str, list[str]]:
    """The Markdown document, and what had to be taken out of it.

    Args:
        event: what came into the stage: source and usage so far.
        transcript: the cleaned transcript, for coverage.
        outline: title and sections; ``texts`` holds their Markdown in the same order.
        matrix: rows of the table of problems.
        sifted: all items, and what was dropped.
        texts: Markdown of the sections, as it was answered.
        usage: what writing them took.

    Equal inputs give equal bytes: no clock is asked.
    """
    stages, items = (*event.stages, usage), sifted.items
    links = Links(event.source, items)
    by_id = {item.id: item for item in items}
    sections = [
        _section(section, text, links, [by_id[each] for each in section.items if each in by_id])
        for section, text in zip(outline.sections, texts, strict=True)
    ]
    warnings = (
        [f"{links.unknown} citations of the text named nothing that is known and were taken out"]
        if links.unknown
        else []
    )
    parts = [
        front_matter(_cover(event.source, outline.title, stages)),
        f"# {escape(outline.title)}\n",
        banner(stages, event.source, found=bool(items)),
        _problems(matrix, by_id, links, phrases(event.source)),
        *sections,
        provenance(event.source, transcript, sifted, stages, warnings),
    ]
    return "\n".join(part for part in parts if part), warnings


def banner(stages: Sequence[StageUsage], source: DocumentSource, *, found: bool) -> str:
    """How the document came to be, in a quote at its top."""
    words = phrases(source)
    heard = words.heard.format(engine=escape(source.recognition.engine)) if source.recognition else ""
    if method_of(stages) == "extractive":
        text = words.extractive.format(heard=heard)
    else:
        who = ", ".join(
            dict.fromkeys(
                f"{stage.model or 'a model'} ({stage.provider})" for stage in stages if stage.method == "model"
            )
        )
        text = words.written.format(who=escape(who), heard=heard)
    return f"> {text}\n" if found else f"> {text} {words.nothing}\n"


def _cover(source: DocumentSource, title: str, stages: Sequence[StageUsage]) -> dict[str, str]:
    heard = source.recognition
    cover = {
        "title": title,
        "source": source.media.uri if source.media else source.transcript.uri,
        "duration": clock(source.duration_seconds) if source.duration_seconds else "",
        "language": source.document_language or source.language or "",
        "transcript": " ".join(filter(None, (heard.engine, heard.model))) if heard else "",
        "method": method_of(stages),
        "generator": "Stenobus",
    }
    return {key: value for key, value in cover.items() if value}


def _section(section: OutlineSection, text: str, links: Links, own: Sequence[Item]) -> str:
    return f"## {escape(section.heading)}\n\n{links.resolve(tame(text, level=3), own)}\n"


def _problems(matrix: ProblemMatrix, items: Mapping[str, Item], links: Links, words: Phrases) -> str:
    """The table of problems; a column that nothing stands in is left out, except those a reader looks for."""
    if not matrix.rows:
        return ""
    columns: list[tuple[str, list[Sequence[str]]]] = [
        (words.problem, [(row.problem,) for row in matrix.rows]),
        (words.diagnosis, [row.diagnosis for row in matrix.rows]),
        (words.debugging, [row.debugging for row in matrix.rows]),
        (words.solution, [row.solution for row in matrix.rows]),
        (words.prevention, [row.prevention for row in matrix.rows]),
    ]
    shown = [(name, cells) for name, cells in columns if name != words.debugging or any(cells)]
    lines = [f"## {words.problems}\n", f"| {' | '.join(name for name, _ in shown)} |", f"|{'---|' * len(shown)}"]
    for number in range(len(matrix.rows)):
        told = (_cell([items[each] for each in cells[number] if each in items], links) for _, cells in shown)
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _cell(items: Sequence[Item], links: Links) -> str:
    """What is said of one problem in one column; a command that another sentence of the cell holds is told once."""
    sentences = [item.text for item in items if item.kind != "command"]
    return (
        "<br>".join(
            f"{code(item.text) if item.kind == 'command' else escape(item.text)} {links.of(item)}".rstrip()
            for item in items
            if item.kind != "command" or not any(item.text in sentence for sentence in sentences)
        )
        or "–"
    )
