"""Whisper-style JSON: openai-whisper, faster-whisper, whisperX, whisper.cpp and the OpenAI API's verbose_json."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

from stenobus_contracts import Word

from ..text import one_line
from .form import Parsed, Utterance, language, mapping, objects, probability, seconds, sentences, speaker, string

#: Seconds by which a word may begin before its segment: both are rounded.
_SLACK = 0.011


def recognises(document: object) -> bool:
    """True for an object or list of segments that have a text, and for a bare ``{"text": …}``."""
    if isinstance(document, list):
        return any("text" in entry for entry in objects(document))
    whole = mapping(document)
    if any("text" in entry for entry in (*objects(whole.get("segments")), *objects(whole.get("transcription")))):
        return True
    return isinstance(whole.get("text"), str)


def parse(document: object) -> Parsed:
    """Read segments with their words; a missing speaker is the one most of its words have."""
    whole = mapping(document)
    cpp = objects(whole.get("transcription"))
    entries = objects(document) if isinstance(document, list) else objects(whole.get("segments")) or cpp
    found = [_cpp_segment(entry) if cpp else _segment(entry) for entry in entries]
    if not any(utterance.words for utterance in found):
        _spread([word for word in map(_word, objects(whole.get("words"))) if word], found)
    if not any(utterance.text.strip() for utterance in found):
        found = [Utterance(piece) for piece in sentences(one_line(string(whole.get("text"))))]
    return Parsed(
        format="whisper",
        utterances=found,
        language=language(whole.get("language")) or language(mapping(whole.get("result")).get("language")),
        duration=seconds(whole.get("duration")),
        engine="whisper.cpp" if cpp else "whisper",
    )


def _spread(words: list[Word], segments: list[Utterance]) -> None:
    """Give the words of one list, as the OpenAI API sends it beside the segments, to the segments they begin in."""
    timed = sorted(((turn.start, number) for number, turn in enumerate(segments) if turn.start is not None))
    starts = [start for start, _ in timed]
    own: dict[int, list[Word]] = {}
    for word in words:
        latest = bisect_right(starts, word.start + _SLACK) - 1
        if latest >= 0:
            own.setdefault(timed[latest][1], []).append(word)
    for number, group in own.items():
        segments[number].words = group


def _segment(entry: Mapping[str, object]) -> Utterance:
    words = [word for word in map(_word, objects(entry.get("words"))) if word]
    said_by = Counter(word.speaker for word in words if word.speaker).most_common(1)
    probabilities = [word.probability for word in words if word.probability is not None]
    start = seconds(entry.get("start"))
    end = seconds(entry.get("end"))
    return Utterance(
        text=string(entry.get("text")),
        start=start if start is not None or not words else words[0].start,
        end=end if end is not None or not words else words[-1].end,
        speaker=speaker(entry.get("speaker")) or (said_by[0][0] if said_by else None),
        confidence=sum(probabilities) / len(probabilities) if probabilities else None,
        words=words,
    )


def _word(entry: Mapping[str, object]) -> Word | None:
    start = seconds(entry.get("start"))
    text = one_line(string(entry.get("word")) or string(entry.get("text")))
    if start is None or not text:
        return None  # whisperX gives numbers and symbols no time; the segment's text still has them
    end = seconds(entry.get("end"))
    return Word(
        text=text,
        start=start,
        end=max(start, end if end is not None else start),
        probability=probability(entry.get("probability", entry.get("score"))),
        speaker=speaker(entry.get("speaker")),
    )


def _cpp_segment(entry: Mapping[str, object]) -> Utterance:
    offsets = mapping(entry.get("offsets"))  # milliseconds
    return Utterance(
        text=string(entry.get("text")),
        start=seconds(offsets.get("from"), unit=0.001),
        end=seconds(offsets.get("to"), unit=0.001),
        speaker=speaker(entry.get("speaker")),
    )
