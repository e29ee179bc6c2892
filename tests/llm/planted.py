"""Recorded sessions whose findings are known: who said what, and what of it a reader must not miss.

A session is a text file, one turn a line as ``speaker|labels|words``; an empty line is a pause in which something runs.
A label is the kind of what the turn tells, ``talk`` for small talk, ``-`` for what is neither; words in backticks are a
command. The sessions are written, not recorded; names, times and figures in them are made up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stenobus_contracts import Item, Segment

FOLDER = Path(__file__).with_name("sessions")
LANGUAGES = ("en", "pt", "es")
#: Written afterwards, in words that nobody looked for when the phrases of the languages were collected.
UNSEEN = ("en-unseen", "pt-unseen", "es-unseen")
WORDS_PER_SECOND, BETWEEN, PAUSE = 2.2, 1.5, 90.0
_MARKS = re.compile(r"[.,;:!?¿¡]+(?=\s|$)|[¿¡]")


@dataclass(frozen=True)
class Session:
    """A session: what a transcript of it says, and what is in it."""

    language: str
    segments: tuple[Segment, ...]
    #: Kind of what each segment tells, by its id.
    labels: dict[str, str]
    #: Commands by the id of their segment.
    commands: dict[str, list[str]]


def session(name: str, *, heard: bool = False) -> Session:
    """A session as a recogniser with punctuation writes it, or as one without (``heard``), which has no capitals."""
    segments: list[Segment] = []
    labels: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    at = 0.0
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line:
            at += PAUSE
            continue
        speaker, label, text = line.split("|", 2)
        place = f"S{len(segments) + 1:04d}"
        labels[place] = label
        commands[place] = [_said(command, heard) for command in re.findall(r"`([^`]+)`", text)]
        text = _said(text.replace("`", ""), heard)
        end = at + len(text.split()) / WORDS_PER_SECOND
        segments.append(
            Segment(
                id=place, text=text, start=round(at, 2), end=round(end, 2), speaker=f"spk_{speaker}"
            )
        )  # fmt: skip
        at = end + BETWEEN
    return Session(name[:2], tuple(segments), labels, commands)


def _said(text: str, heard: bool) -> str:
    return _MARKS.sub("", text).lower() if heard else text


@dataclass(frozen=True)
class Score:
    """How items compare with what is planted."""

    planted: int
    #: Planted turns that any item tells, those that a finding tells, and those that one of their own kind tells.
    told: int
    found: int
    placed: int
    #: Findings: items with a kind other than fact. Those that tell a planted turn, and those that tell small talk.
    findings: int
    true: int
    chatter: int
    commands: int
    commands_found: int
    missed: tuple[str, ...]
    misplaced: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Share of the planted turns that are told as findings."""
        return self.found / self.planted

    @property
    def placing(self) -> float:
        """Share of the planted turns that are told as what they are."""
        return self.placed / self.planted

    @property
    def precision(self) -> float:
        """Share of the findings that tell a planted turn."""
        return self.true / self.findings if self.findings else 0.0


def score(known: Session, items: Sequence[Item]) -> Score:
    """Compare items with what is planted."""
    texts = {segment.id: segment.text for segment in known.segments}
    planted = {name: kind for name, kind in known.labels.items() if kind not in {"-", "talk"}}
    findings = [item for item in items if item.kind != "fact"]
    told: dict[str, set[str]] = {}
    for item in findings:
        for name in item.evidence.segments:
            told.setdefault(name, set()).add(item.kind)
    true = [item for item in findings if any(each in planted for each in item.evidence.segments)]
    commands = [(name, command) for name, found in known.commands.items() for command in found]
    got = {(name, item.text) for item in items if item.kind == "command" for name in item.evidence.segments}
    return Score(
        planted=len(planted),
        told=len(planted.keys() & {name for item in items for name in item.evidence.segments}),
        found=sum(name in told for name in planted),
        placed=sum(kind in told.get(name, ()) for name, kind in planted.items()),
        findings=len(findings),
        true=len(true),
        chatter=sum(any(known.labels[each] == "talk" for each in item.evidence.segments) for item in items),
        commands=len(commands),
        commands_found=sum(each in got for each in commands),
        missed=tuple(f"{kind}: {texts[name]}" for name, kind in planted.items() if name not in told),
        misplaced=tuple(
            f"{kind} as {'/'.join(sorted(told[name]))}: {texts[name]}"
            for name, kind in planted.items()
            if name in told and kind not in told[name]
        ),
        wrong=tuple(f"{item.kind}: {item.text}" for item in findings if item not in true),
    )
