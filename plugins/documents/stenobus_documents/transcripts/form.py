"""What every reader produces, and the one place where it becomes a numbered Transcript."""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from stenobus_contracts import Segment, Transcript, Word

from ..text import joined, one_line

#: Longer utterances are cut at a sentence, so that what cites one points at a place and not at a chapter.
LONGEST = 600
#: An utterance of this many characters ends with its sentence.
ENOUGH = 80
_NUMERIC = (int, float, str)  # and no bool
_LATEST = 1e7  # seconds; some 115 days: beyond it a number is no time in a recording
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*$|[。！？]$")
_BREAKS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")


class TranscriptError(Exception):
    """The bytes are no transcript that can be read. The message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a reader accepts."""

    segments: int = 200_000


@dataclass(slots=True)
class Utterance:
    """A segment before it has its number. Times in seconds."""

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    confidence: float | None = None
    kind: Literal["speech", "noise", "small_talk"] = "speech"
    words: Sequence[Word] = ()


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the search for garbage in cycles.

    A file that is being read is some hundred thousand young objects, all of them in use: to look through them again and
    again, and through the rest of the process each time, takes longer than to read them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(slots=True)
class Parsed:
    """What a reader found, in any order."""

    format: str
    utterances: list[Utterance]
    language: str | None = None
    duration: float | None = None
    engine: str | None = None
    warnings: list[str] = field(default_factory=list)

    @uncollected()
    def transcript(self, limits: Limits) -> Transcript:
        """Order by time, clean, cut what is too long, and number.

        Raises:
            TranscriptError: nothing was said, or there are more segments than the limit.
        """
        segments: list[Segment] = []
        for utterance in _in_order(self.utterances):
            for piece in _pieces(utterance):
                if len(segments) >= limits.segments:
                    raise TranscriptError(
                        f"The transcript has more than {limits.segments} segments; split the recording, "
                        "or raise max_segments of documents-clean."
                    )
                segments.append(_segment(len(segments) + 1, piece))
        if not segments:
            raise TranscriptError("The transcript holds no words; check that the recording has speech in it.")
        ends = [segment.end for segment in segments if segment.end is not None]
        duration = max([*ends, *([self.duration] if self.duration is not None else [])], default=None)
        return Transcript(segments=tuple(segments), language=self.language, duration_seconds=duration)


def seconds(value: object, unit: float = 1.0) -> float | None:
    """A time as number or string ("4.87") in units of seconds, never negative; None for what is no time."""
    number = _number(value)
    return None if number is None or number * unit > _LATEST else max(0.0, number * unit)


def probability(value: object) -> float | None:
    """A confidence as number or string, clamped to 0..1; None when there is none."""
    number = _number(value)
    return None if number is None else min(1.0, max(0.0, number))


def language(value: object) -> str | None:
    """A language tag, or None when the value is not one."""
    return value if isinstance(value, str) and len(value) <= 35 and _LANGUAGE.fullmatch(value) else None


def speaker(value: object) -> str | None:
    """A speaker's label as one short line, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"spk_{value}" if abs(value) < 1_000_000 else None
    return _label(value) if isinstance(value, str) else None


@lru_cache(maxsize=256)
def _label(value: str) -> str | None:
    return one_line(value)[:80].rstrip() or None


def mapping(value: object) -> Mapping[str, object]:
    """The value when it is a JSON object, else an empty one: an absent part of a file is not an error."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, object]]:
    """The JSON objects of a list; anything else in it is passed over."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def string(value: object) -> str:
    """The value when it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def sentences(text: str) -> list[str]:
    """Cut a text at sentence ends, short ones kept together; at spaces where one is longer than :data:`LONGEST`."""
    pieces: list[str] = []
    for part in (part for sentence in _BREAKS.split(text) for part in _hard_cut(sentence)):
        if pieces and len(pieces[-1]) < ENOUGH and len(pieces[-1]) + len(part) < LONGEST:
            pieces[-1] = joined((pieces[-1], part))
        elif part:
            pieces.append(part)
    return pieces


def ends_sentence(text: str) -> bool:
    """True when the text closes a sentence."""
    return _SENTENCE_END.search(text) is not None


def _number(value: object) -> float | None:
    if type(value) not in _NUMERIC:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _hard_cut(sentence: str) -> Iterator[str]:
    while len(sentence) > LONGEST:
        cut = sentence.rfind(" ", LONGEST // 2, LONGEST)
        cut = LONGEST if cut < 0 else cut
        yield sentence[:cut]
        sentence = sentence[cut:].lstrip()
    yield sentence


def _in_order(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Sorted by start; what has no time stays behind what it followed."""
    keys: list[float] = []
    for utterance in utterances:
        keys.append(utterance.start if utterance.start is not None else keys[-1] if keys else 0.0)
    return [utterances[i] for i in sorted(range(len(utterances)), key=keys.__getitem__)]


def _pieces(utterance: Utterance) -> Iterator[Utterance]:
    text = one_line(utterance.text)
    if not text:
        return
    if len(text) <= LONGEST:
        utterance.text = text
        yield utterance
        return
    for piece in sentences(text):  # the pieces keep the whole's times: a finer guess would be an invention
        yield Utterance(
            piece, utterance.start, utterance.end, utterance.speaker, utterance.confidence, utterance.kind, ()
        )


def _segment(number: int, utterance: Utterance) -> Segment:
    start, end = utterance.start, utterance.end
    if start is not None:
        end = start if end is None else max(start, end)
    return Segment(
        id=f"S{number:04d}",
        text=utterance.text,
        start=start,
        end=end,
        speaker=speaker(utterance.speaker),
        confidence=utterance.confidence,
        kind=utterance.kind,
        words=tuple(utterance.words),
    )
