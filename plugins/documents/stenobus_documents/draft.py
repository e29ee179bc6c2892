"""Assemble the document: front matter, banner, problems and solutions, sections, provenance."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from stenobus_contracts import (
    DocOutlined,
    DocumentSource,
    Item,
    Method,
    Outline,
    OutlineSection,
    ProblemMatrix,
    Segment,
    StageUsage,
    Transcript,
)

from .markdown import code, escape, front_matter, outside_code, tame, time_link
from .phrases import Phrases, phrases
from .text import clock

#: Length of one line of the coverage table, in seconds.
COVERAGE_STEP = 600

_CITED_ITEM = re.compile(r"\[(I\d{3,}(?:\s*[,;]\s*I\d{3,})*)\](?!\()")
_CITED_TIME = re.compile(r"(?<![\w\\])[\[(](\d{2,}:\d{2}:\d{2})[\])](?!\()")
_CODE_SPAN = re.compile(r"(`+[^`]*`+)")


def method_of(stages: Iterable[StageUsage]) -> Method:
    """model as soon as one stage used a language model, else extractive."""
    return "model" if any(stage.method == "model" for stage in stages) else "extractive"


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
    items: Sequence[Item],
    texts: Sequence[str],
    usage: StageUsage,
) -> tuple[str, list[str]]:
    """The Markdown document, and what had to be taken out of it.

    Args:
        event: what came into the stage: source and usage so far.
        transcript: the cleaned transcript, for coverage.
        outline: title and sections; ``texts`` holds their Markdown in the same order.
        matrix: rows of the table of problems.
        items: all items.
        texts: Markdown of the sections, as it was answered.
        usage: what writing them took.

    Equal inputs give equal bytes: no clock is asked.
    """
    stages = (*event.stages, usage)
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
        _provenance(event.source, transcript, items, stages, warnings),
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


def _provenance(
    source: DocumentSource,
    transcript: Transcript,
    items: Sequence[Item],
    stages: Sequence[StageUsage],
    warnings: Sequence[str],
) -> str:
    heard = source.recognition
    engine = " ".join(filter(None, (heard.engine, heard.model))) if heard else "brought by the producer"
    lines = [
        "## Provenance\n",
        f"- Recording: {escape(source.media.title if source.media else source.transcript.uri)}",
        f"- Transcript: {escape(engine)}{f' ({escape(heard.reason)})' if heard and heard.reason else ''}",
        f"- Method: {method_of(stages)}",
        f"- Cost: {cost(stages)}",
        f"- Coverage: {_coverage(transcript.segments, items)}\n",
        "| Stage | Method | Provider and model | Prompt | Requests | Tokens in | Tokens out | Cost |",
        "|---|---|---|---|--:|--:|--:|--:|",
        *(_stage(stage) for stage in stages),
        "",
        *_coverage_table(transcript, items),
    ]
    doubts = [*(f"{stage.stage}: {warning}" for stage in stages for warning in stage.warnings), *warnings]
    if doubts:
        lines += ["### What was dropped or is in doubt\n", *(f"- {escape(doubt)}" for doubt in doubts), ""]
    return "\n".join(lines)


def cost(stages: Sequence[StageUsage]) -> str:
    """US dollars of all stages, or that the price is not known."""
    known = [stage.cost_usd for stage in stages if stage.cost_usd is not None]
    return (
        f"{_plain(sum(known, Decimal(0)))} USD"
        if len(known) == len(stages)
        else "unknown (no price is known for the model)"
    )


def _stage(stage: StageUsage) -> str:
    who = ", ".join(filter(None, (stage.provider, stage.model))) or "–"
    about = "≈" if stage.tokens.estimated else ""
    price = "unknown" if stage.cost_usd is None else f"{_plain(stage.cost_usd)} USD"
    return (
        f"| {stage.stage} | {stage.method} | {escape(who)} | {escape(stage.prompt or '–')} | {stage.calls} "
        f"| {about}{stage.tokens.input} | {about}{stage.tokens.output} | {price} |"
    )


def _coverage(segments: Sequence[Segment], items: Sequence[Item]) -> str:
    kinds = Counter(segment.kind for segment in segments)
    cited = {each for item in items for each in item.evidence.segments}
    return (
        f"{len(items)} statements from {len(cited)} of {kinds['speech']} segments of speech; "
        f"{kinds['small_talk']} of small talk and {kinds['noise']} of noise were left out"
    )


def _coverage_table(transcript: Transcript, items: Sequence[Item]) -> list[str]:
    """Statements per ten minutes, for recordings that are longer than that."""
    if (transcript.duration_seconds or 0) <= COVERAGE_STEP:
        return []
    said = Counter(
        int(s.start // COVERAGE_STEP) for s in transcript.segments if s.start is not None and s.kind == "speech"
    )
    stated = Counter(int(item.evidence.start // COVERAGE_STEP) for item in items if item.evidence.start is not None)
    rows = [
        f"| {clock(part * COVERAGE_STEP)} – {clock((part + 1) * COVERAGE_STEP)} | {said[part]} | {stated[part]} |"
        for part in range(max(said, default=-1) + 1)
        if said[part]
    ]
    return ["| Part | Segments of speech | Statements |", "|---|--:|--:|", *rows, ""]


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
