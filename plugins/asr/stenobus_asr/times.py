"""Puts the times of utterances and words in order, whatever an engine made of them.

Whisper models give times that run backwards, lie outside the recording or are missing altogether; see
https://github.com/m-bain/whisperX/issues/419 and https://github.com/SYSTRAN/faster-whisper/issues/120.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from stenobus_contracts import Segment, Word

from .speech import HeardWord, Utterance

Times = tuple[float, float]


def segments(utterances: Sequence[Utterance], duration: float) -> tuple[Segment, ...]:
    """Numbered segments: 0 ≤ start ≤ end ≤ next start ≤ duration, for segments and for the words of each.

    Words keep their order; what overlaps the next segment is cut short.

    Args:
        utterances: as heard, times in seconds.
        duration: length of the recording, seconds.
    """
    spoken = [utterance for utterance in utterances if utterance.text.strip()]
    placed = sorted(zip(_places(spoken, duration), spoken, strict=True), key=lambda pair: pair[0])
    starts = [start for (start, _), _ in placed] + [duration]
    return tuple(
        _segment(number, utterance, start, min(end, following), duration)
        for number, (((start, end), utterance), following) in enumerate(zip(placed, starts[1:], strict=True), start=1)
    )


def _segment(number: int, utterance: Utterance, start: float, end: float, duration: float) -> Segment:
    words = [word for word in utterance.words if word.text.strip()]
    known = [word.probability for word in words if _finite(word.probability) is not None]
    return Segment(
        id=f"S{number:04d}",
        text=" ".join(utterance.text.split()),
        start=_milliseconds(start),
        end=_milliseconds(end),
        confidence=round(sum(map(_unit, known)) / len(known), 3) if known else None,
        words=tuple(
            Word(
                text=word.text.strip(),
                start=_milliseconds(begin),
                end=_milliseconds(finish),
                probability=None if _finite(word.probability) is None else round(_unit(word.probability), 3),
            )
            for word, (begin, finish) in zip(words, word_times(words, start, end), strict=True)
        ),
    )


def word_times(words: Sequence[HeardWord], start: float, end: float) -> list[Times]:
    """Times of a segment's words inside the segment; a run without times shares the room between its neighbours."""
    edges: list[float | None] = []
    for word in words:
        begin, finish = _finite(word.start), _finite(word.end)
        edges += [begin, finish] if begin is None or finish is None or begin <= finish else [begin, begin]
    filled = _interpolated([None if edge is None else _clamp(edge, start, end) for edge in edges], start, end)
    low = start
    for index, edge in enumerate(filled):
        low = filled[index] = max(low, edge)
    return list(zip(filled[::2], filled[1::2], strict=True))


def _places(utterances: Sequence[Utterance], duration: float) -> list[Times]:
    """Start and end of each utterance inside the recording; one without a start follows the one before it."""
    places: list[Times] = []
    previous = 0.0
    for utterance in utterances:
        words = utterance.words
        start, end = _first(utterance.start, *(word.start for word in words)), _finite(utterance.end)
        if end is None:
            end = _first(*(word.end for word in reversed(words)))
        begin = _clamp(previous if start is None else start, 0.0, duration)
        finish = _clamp(begin if end is None else end, begin, duration)
        places.append((begin, finish))
        previous = finish
    return places


def _interpolated(edges: Sequence[float | None], start: float, end: float) -> list[float]:
    """Missing edges at equal steps between the known ones around them."""
    known = [(-1, start), *((index, edge) for index, edge in enumerate(edges) if edge is not None), (len(edges), end)]
    filled = [start] * len(edges)
    for (left, low), (right, high) in pairwise(known):
        for index in range(left + 1, right):
            filled[index] = low + (high - low) * (index - left) / (right - left)
        if right < len(edges):
            filled[right] = high
    return filled


def _first(*times: float | None) -> float | None:
    return next((time for time in times if _finite(time) is not None), None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _unit(value: float | None) -> float:
    return _clamp(value or 0.0, 0.0, 1.0)


def _clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def _milliseconds(seconds: float) -> float:
    return round(seconds, 3)
