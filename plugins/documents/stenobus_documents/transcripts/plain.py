"""Plain text, with or without times and speakers in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ..text import one_line
from .form import Parsed, Utterance, sentences
from .speakers import split_speakers

_STAMP = r"(?:(\d{1,3}):)?(\d{1,3}):([0-5]\d)(?:[.,]\d{1,3})?"
_BRACKETED = re.compile(rf"\s*[\[(]{_STAMP}[\])]\s*(?:[-\u2013:]\s+)?(.*)", re.DOTALL)
_BARE = re.compile(rf"\s*{_STAMP}(?:\s*[-\u2013:]\s+|\s+|$)(.*)", re.DOTALL)
_HEADING = re.compile(rf"\s*([^\W\d][^\n:]{{0,39}}?)\s+[\[(]?{_STAMP}[\])]?\s*")


def parse(text: str) -> Parsed:
    """Every line is an utterance; lines wrapped by an editor are joined to their paragraph.

    Times are read where the text gives them, and stay None where it does not.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    utterances = _headed(lines) or _timed(lines) or _untimed(text)
    return Parsed("text", utterances)


def _headed(lines: Sequence[str]) -> list[Utterance]:
    """``Ana Lima  0:03`` on a line of its own, what she said below it; empty when the text is not like that."""
    heads = [_HEADING.fullmatch(line) for line in lines]
    if sum(head is not None for head in heads) < 2 or heads[0] is None:
        return []
    found: list[Utterance] = []
    for line, head in zip(lines, heads, strict=True):
        if head:
            found.append(Utterance("", _seconds(head, 2), None, one_line(head[1])))
        else:
            found[-1].text += line + "\n"
    return _closed(found)


def _timed(lines: Sequence[str]) -> list[Utterance]:
    """Lines that begin with a time; empty when fewer than half of them do."""
    stamps = [_BRACKETED.match(line) for line in lines]
    if sum(stamp is not None for stamp in stamps) * 2 < len(lines):
        stamps = [_BARE.match(line) for line in lines]
        if sum(stamp is not None for stamp in stamps) * 2 < len(lines):
            return []
    found: list[Utterance] = []
    for line, stamp in zip(lines, stamps, strict=True):
        if stamp:
            found.append(Utterance(stamp[4], _seconds(stamp, 1)))
        elif found:
            found[-1].text += "\n" + line
        else:
            found.append(Utterance(line))
    for utterance, (label, said) in zip(found, split_speakers([each.text for each in found]), strict=True):
        utterance.speaker, utterance.text = label, said
    return _closed(found)


def _untimed(text: str) -> list[Utterance]:
    paragraphs = [paragraph for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]
    lines = text.splitlines() if any(label for label, _ in split_speakers(text.splitlines())) else paragraphs
    return [
        Utterance(piece, speaker=label)
        for label, said in split_speakers([line for line in lines if line.strip()])
        for piece in sentences(one_line(said))
    ]


def _closed(utterances: list[Utterance]) -> list[Utterance]:
    """Each utterance lasts until the next begins; the last one's end is not known."""
    for utterance, following in pairwise(utterances):
        if utterance.start is not None and following.start is not None and following.start >= utterance.start:
            utterance.end = following.start
    return utterances


def _seconds(match: re.Match[str], first: int) -> float:
    hours, minutes, whole = match[first], match[first + 1], match[first + 2]
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole)
