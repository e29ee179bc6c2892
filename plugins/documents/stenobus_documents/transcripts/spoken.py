"""Words with times, grouped into utterances that are worth citing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stenobus_contracts import Word

from ..text import joined
from .form import ENOUGH, LONGEST, Utterance, ends_sentence

#: A pause that ends an utterance, in seconds.
PAUSE = 1.5


@dataclass(slots=True)
class Spoken:
    """One word, its punctuation already behind it. Times in seconds, None when the file gives none."""

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    speaker: str | None = None
    alternatives: tuple[str, ...] = ()


def in_time(words: Iterable[Spoken]) -> list[Spoken]:
    """The words by start; one without a time stays behind the word it followed."""
    latest = 0.0
    keyed: list[tuple[float, Spoken]] = []
    for word in words:
        latest = word.start if word.start is not None else latest
        keyed.append((latest, word))
    return [word for _, word in sorted(keyed, key=lambda pair: pair[0])]


def utterances(words: Iterable[Spoken]) -> list[Utterance]:
    """Group words in order: a new utterance at a change of speaker, a pause, or a sentence's end once it is long."""
    groups: list[list[Spoken]] = []
    length = 0
    for word in words:
        if not groups or _breaks(groups[-1][-1], word, length):
            groups.append([])
            length = 0
        groups[-1].append(word)
        length += len(word.text) + 1
    return [utterance(group) for group in groups]


def utterance(words: list[Spoken]) -> Utterance:
    """One utterance of these words; the speaker is the first that is known."""
    timed = [
        Word(
            text=word.text,
            start=word.start,
            end=max(word.start, word.end if word.end is not None else word.start),
            probability=word.confidence,
            speaker=word.speaker,
            alternatives=word.alternatives,
        )
        for word in words
        if word.start is not None
    ]
    confidences = [word.confidence for word in words if word.confidence is not None]
    return Utterance(
        text=joined(word.text for word in words),
        start=timed[0].start if timed else None,
        end=max(word.end for word in timed) if timed else None,
        speaker=next((word.speaker for word in words if word.speaker), None),
        confidence=sum(confidences) / len(confidences) if confidences else None,
        words=timed,
    )


def _breaks(last: Spoken, word: Spoken, length: int) -> bool:
    if word.speaker and last.speaker and word.speaker != last.speaker:
        return True
    ended = last.end if last.end is not None else last.start
    if word.start is not None and ended is not None and word.start - ended >= PAUSE:
        return True
    return length >= LONGEST - 80 or (length >= ENOUGH and ends_sentence(last.text))
