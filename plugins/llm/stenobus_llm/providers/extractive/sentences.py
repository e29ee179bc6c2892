"""Sentences of a transcript, each a verbatim part of it.

Recognisers differ: some write punctuation and break sentences wherever a segment ends, others write one unpunctuated
utterance per pause. Both come out as readable sentences, and not a character is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from stenobus_contracts import Evidence, Segment

from .language import Language, words

#: Words after which an utterance without punctuation is divided, at the latest.
LONGEST = 40
#: Words a divided part has at least.
SHORTEST = 8
#: Seconds of silence that end a sentence, finished or not.
PAUSE = 1.5
MOST_SEGMENTS = 4

_END = re.compile(r"""[.!?…]+["')\]»”]*\s+(?=["'(\[«“¿¡]?[\w/])""")
_TERMINAL = re.compile(r"""[.!?…]["')\]»”]*$""")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr|sr|sra|no|st|approx|[a-z])\.$", re.IGNORECASE)
_TOKEN = re.compile(r"\S+")


@dataclass(frozen=True)
class Sentence:
    """``text`` occurs literally in the texts of its segments, joined by single spaces."""

    text: str
    segments: tuple[Segment, ...]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Folded words."""
        return words(self.text)

    @property
    def asks(self) -> bool:
        """Whether it is a question; only punctuation tells."""
        return self.text.rstrip("\"')»”").endswith("?")

    @property
    def evidence(self) -> Evidence:
        """The sentence as evidence, with the time its first segment starts."""
        return Evidence(
            segments=tuple(segment.id for segment in self.segments), quote=self.text, start=self.segments[0].start
        )


def sentences(segments: Iterable[Segment], language: Language) -> list[Sentence]:
    """The sentences of everything that is speech, in order."""
    segments = list(segments)
    punctuated = _punctuated(segments)
    found: list[Sentence] = []
    open_end = False  # whether the last sentence goes on in the next segment
    for segment in segments:
        if segment.kind != "speech":
            open_end = False
            continue
        parts = [Sentence(part, (segment,)) for part in _parts(segment.text, language)]
        if not parts:
            continue
        if open_end and _adjacent(found[-1], parts[0], language):
            last = found.pop()
            parts[0] = replace(last, text=f"{last.text} {parts[0].text}", segments=(*last.segments, segment))
        found += parts
        open_end = _goes_on(found[-1], punctuated, language)
    return found


def _punctuated(segments: Sequence[Segment]) -> bool:
    """Whether the recogniser writes punctuation: one sentence end in fifty words or more."""
    ends = sum(len(re.findall(r"[.!?…](?=\s|$)", segment.text)) for segment in segments)
    return ends * 50 >= sum(len(segment.text.split()) for segment in segments)


def _parts(text: str, language: Language) -> Iterator[str]:
    start = 0
    for end in _END.finditer(text):
        before = text[start : end.end()].rstrip()
        after = text[end.end()]
        # A lower-case word after a full stop is the rest of a file name or number more often than a new sentence.
        if (after.islower() and before.endswith(".")) or _ABBREVIATION.search(before):
            continue
        yield from _divided(before.strip(), language)
        start = end.end()
    yield from _divided(text[start:].strip(), language)


def _divided(text: str, language: Language) -> Iterator[str]:
    """A text of at most LONGEST words, or its parts, cut before words that open a clause where there are any."""
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) <= LONGEST:
        if text:
            yield text
        return
    folded = [(words(token[0]) or ("",))[0] for token in tokens]
    first = 0
    for index in range(len(tokens)):
        length, left = index - first, len(tokens) - index
        opens = length >= SHORTEST and left >= SHORTEST and any(True for _ in language.openers.at(folded, index))
        if opens or length >= LONGEST:
            yield text[tokens[first].start() : tokens[index - 1].end()]
            first = index
    yield text[tokens[first].start() :]


def _adjacent(last: Sentence, following: Sentence, language: Language) -> bool:
    before, after = last.segments[-1], following.segments[0]
    if before.speaker != after.speaker:
        return False
    if following.text[0].isupper() and last.words[-1:] and last.words[-1] not in language.unfinished:
        return False  # a capital begins a new sentence, where the one before does not clearly want to go on
    return before.end is None or after.start is None or after.start - before.end <= PAUSE


def _goes_on(sentence: Sentence, punctuated: bool, language: Language) -> bool:
    count = len(sentence.words)
    if len(sentence.segments) >= MOST_SEGMENTS or count >= LONGEST:
        return False
    if _TERMINAL.search(sentence.text):
        return False
    return punctuated or count <= 2 or sentence.words[-1] in language.unfinished
