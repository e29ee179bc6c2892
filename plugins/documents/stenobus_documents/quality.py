"""``quality.json``: what a document says is checked once more as it stands, and what is not in it is listed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from pydantic import Field

from stenobus_contracts import Item, Method, Model, Outline, ProblemMatrix, Segment, StageUsage, Transcript

from .claims import command, setting, unsaid
from .coverage import Part, cited, coverage
from .dropped import Dropped, Sifted, reasons
from .grounding import ground
from .markdown import code_blocks
from .phrases import PROVENANCE
from .said import Said
from .tally import cost
from .text import clock

#: Entries of one list that are written out; all of them are counted.
SHOWN = 1000

_TIMED = re.compile(r"\\?\[(\d{2,}:\d{2}:\d{2})\\?\](?:\([^)\s]*#t=(\d+)\))?")
_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_BANNER = re.compile(r"^> .*$", re.MULTILINE)
_CELL = re.compile(r"\s*(?:(?<!\\)\||<br>)\s*")


class Gate(Model):
    """One check of the finished document."""

    name: str
    checks: str = Field(description="what has to hold")
    checked: int = Field(ge=0)
    failed: tuple[str, ...] = Field(default=(), description="what does not hold; nothing in a sound document")


class LeftOut(Model):
    """A segment that is no content."""

    id: str
    time: str | None
    speaker: str | None
    kind: str
    text: str


class SectionQuality(Model):
    """A section and what it stands on."""

    heading: str
    statements: int
    first: str | None
    last: str | None
    speakers: tuple[str, ...]


class Quality(Model):
    """Everything that can be known about a document without understanding it."""

    title: str
    method: Method
    sound: bool = Field(description="every gate holds")
    gates: tuple[Gate, ...]
    statements: dict[str, int] = Field(description="how many of each kind")
    coverage: tuple[Part, ...] = Field(description="by ten minutes; nothing for a transcript without times")
    uncited: int = Field(description="segments of speech that no statement cites")
    sections: tuple[SectionQuality, ...]
    dropped: dict[str, int] = Field(description="statements that were not borne out, by reason")
    dropped_statements: tuple[Dropped, ...]
    left_out: dict[str, int] = Field(description="segments of noise and small talk")
    left_out_segments: tuple[LeftOut, ...]
    stages: tuple[StageUsage, ...] = Field(description="how each part was made: method, model, prompt, tokens, cost")
    cost_usd: Decimal | None
    warnings: tuple[str, ...]


def assess(
    markdown: str,
    transcript: Transcript,
    sifted: Sifted,
    matrix: ProblemMatrix,
    outline: Outline,
    stages: Sequence[StageUsage],
    method: Method,
    title: str,
) -> Quality:
    """Look at a finished document.

    Args:
        markdown: the whole document.
        transcript: the cleaned transcript.
        sifted: its statements, and those that were dropped.
        matrix: the problems.
        outline: the sections.
        stages: what each stage took.
        method: how the document was made.
        title: of the recording, as it was given; the document may use its words.
    """
    segments, items = transcript.segments, sifted.items
    gates = (
        _evidence(items, segments),
        _claims(markdown, Said([*(segment.text for segment in segments), title, outline.title])),
        _times(markdown, items),
        _references(items, matrix, outline),
        _distinct(items),
    )
    told = cited(items)
    out = [segment for segment in segments if segment.kind != "speech"]
    return Quality(
        title=outline.title,
        method=method,
        sound=not any(gate.failed for gate in gates),
        gates=gates,
        statements=dict(sorted(Counter(item.kind for item in items).items())),
        coverage=tuple(coverage(segments, items)),
        uncited=sum(segment.kind == "speech" and segment.id not in told for segment in segments),
        sections=tuple(_section(section.heading, section.items, items) for section in outline.sections),
        dropped=dict(sorted(reasons(sifted.dropped).items())),
        dropped_statements=sifted.dropped,
        left_out=dict(sorted(Counter(segment.kind for segment in out).items())),
        left_out_segments=tuple(map(_left_out, out[:SHOWN])),
        stages=tuple(stages),
        cost_usd=cost(stages),
        warnings=tuple(f"{stage.stage}: {warning}" for stage in stages for warning in stage.warnings),
    )


def body(markdown: str) -> str:
    """What the document says of the recording: no cover, no banner, and nothing of what it says of itself."""
    text = _BANNER.sub("", _FRONT.sub("", markdown, count=1), count=1)
    page = max((text.rfind(f"\n## {heading}\n") for heading in PROVENANCE), default=-1)
    return text if page < 0 else text[:page]


def _evidence(items: Sequence[Item], segments: Sequence[Segment]) -> Gate:
    grounded = ground(items, [segment for segment in segments if segment.kind == "speech"])
    return Gate(
        name="evidence",
        checks="every statement has a quote that stands in the segments it cites, and says no more than these",
        checked=len(items),
        failed=(
            *(f"{each.text}: {each.reason}" for each in grounded.dropped[:SHOWN]),
            *(f"{count} statements: {reason}" for reason, count in grounded.mended.items()),
        ),
    )


def _claims(markdown: str, said: Said) -> Gate:
    checked = 0
    failed: list[str] = []
    text = body(markdown)
    code = {number for _, lines in code_blocks(text) for number in lines}
    for number, line in enumerate(text.split("\n")):
        if number in code:
            checked += 1
            if not (command(line, said) or setting(line, said) or not unsaid(line, said)):
                failed.append(line.strip())
            continue
        for piece in filter(None, _CELL.split(_TIMED.sub(" ", line))):
            checked += 1
            failed += unsaid(piece, said)
    return Gate(
        name="claims",
        checks="every number, version, name of a program, path and command in the document was said",
        checked=checked,
        failed=tuple(dict.fromkeys(failed))[:SHOWN],
    )


def _times(markdown: str, items: Sequence[Item]) -> Gate:
    starts = {int(item.evidence.start) for item in items if item.evidence.start is not None}
    shown = {clock(start) for start in starts}
    found = list(_TIMED.finditer(body(markdown)))
    return Gate(
        name="times",
        checks="every time and every link into the recording is when the words of a statement begin",
        checked=len(found),
        failed=tuple(
            match[0] for match in found if match[1] not in shown or (match[2] and int(match[2]) not in starts)
        )[:SHOWN],
    )


def _references(items: Sequence[Item], matrix: ProblemMatrix, outline: Outline) -> Gate:
    known = {item.id for item in items}
    named = [
        *(each for row in matrix.rows for each in (row.problem, *row.diagnosis, *row.debugging)),
        *(each for row in matrix.rows for each in (*row.solution, *row.prevention)),
        *(each for section in outline.sections for each in section.items),
    ]
    told = {each for section in outline.sections for each in section.items}
    return Gate(
        name="references",
        checks="problems and sections name statements that exist, and every statement is in a section",
        checked=len(named),
        failed=(*(each for each in named if each not in known), *(f"{each} is told nowhere" for each in known - told)),
    )


def _distinct(items: Sequence[Item]) -> Gate:
    counts = Counter((item.kind, item.text, item.evidence.segments, item.evidence.quote) for item in items)
    return Gate(
        name="distinct",
        checks="nothing is stated twice with the same words",
        checked=len(items),
        failed=tuple(text for (_, text, _, _), count in counts.items() if count > 1),
    )


def _section(heading: str, ids: Sequence[str], items: Sequence[Item]) -> SectionQuality:
    own = [item for item in items if item.id in set(ids)]
    starts = [item.evidence.start for item in own if item.evidence.start is not None]
    return SectionQuality(
        heading=heading,
        statements=len(own),
        first=clock(min(starts)) if starts else None,
        last=clock(max(starts)) if starts else None,
        speakers=tuple(sorted({item.evidence.speaker for item in own if item.evidence.speaker})),
    )


def _left_out(segment: Segment) -> LeftOut:
    return LeftOut(
        id=segment.id,
        time=None if segment.start is None else clock(segment.start),
        speaker=segment.speaker,
        kind=segment.kind,
        text=segment.text,
    )
