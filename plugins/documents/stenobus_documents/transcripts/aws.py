"""AWS Transcribe batch results, in every variant that is met in the wild.

Numbers are strings, punctuation has no times, speaker labels may sit on the items or only in a list of times to be
joined, channels hold their own items, ``audio_segments`` and alternatives may be there or not. Streaming events and
Call Analytics are other dialects; :func:`refusal` names them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from ..text import one_line
from .form import (
    Parsed,
    Utterance,
    language,
    mapping,
    objects,
    probability,
    seconds,
    sentences,
    speaker,
    string,
)
from .spoken import Spoken, in_time, utterance, utterances

Json = Mapping[str, object]

_PARTS = ("transcripts", "items", "audio_segments", "segments", "channel_labels")
_OPENING = frozenset("¿¡([{“«‘")


def recognises(document: object) -> bool:
    """True when there is a ``results`` object with at least one of its parts."""
    results = mapping(document).get("results")
    return isinstance(results, dict) and any(part in results for part in _PARTS)


def refusal(document: object) -> str | None:
    """Why an AWS document of another dialect is not read, in one sentence; None when it is no such document."""
    first = next(iter(objects(document)), {}) if isinstance(document, list) else mapping(document)
    streamed = mapping(first.get("TranscriptEvent")) or first
    partial = objects(streamed.get("Results")) or objects(mapping(streamed.get("Transcript")).get("Results"))
    if "TranscriptEvent" in first or "UtteranceEvent" in first or partial or "IsPartial" in first:
        return (
            "This is the output of AWS Transcribe streaming, whose partial results are no final transcript; "
            "run a batch job, or write its final results as SRT or plain text."
        )
    if {"ConversationCharacteristics", "Participants"} & set(first) or any(
        "ParticipantRole" in turn for turn in objects(first.get("Transcript"))
    ):
        return (
            "This is an AWS Call Analytics result, which is another format; run a standard transcription job on the "
            "recording, or convert its turns to SRT or plain text."
        )
    if "TranscriptionJob" in first or "TranscriptFileUri" in mapping(first.get("Transcript")):
        return (
            "This describes an AWS transcription job and is not its transcript; use the file that "
            "Transcript.TranscriptFileUri points at."
        )
    if "results" in first and string(first.get("status")).upper() in {"FAILED", "IN_PROGRESS", "QUEUED"}:
        return f"The AWS transcription job is {string(first['status']).upper()}; use the result of a completed job."
    return None


def parse(document: object) -> Parsed:
    """Read a batch result: audio segments where they are complete, else channels, else items, else bare texts."""
    results = mapping(mapping(document).get("results"))
    items = objects(results.get("items"))
    channels = _channels(results, items)
    found = _audio_segments(results, items)
    if not found and channels:
        found = [
            turn for label, own in channels.items() for turn in utterances(in_time(_spoken(own, _Speakers({}), label)))
        ]
    if not found:
        found = utterances(in_time(_spoken(items, _Speakers(mapping(results.get("speaker_labels"))))))
    if not any(turn.text for turn in found):
        found = _segment_alternatives(results) or _texts(results)
    warnings = (
        []
        if _agrees(results, found, in_order=not channels)
        else ["The segments of the AWS transcript differ from its full text; the segments were used."]
    )
    return Parsed(
        format="aws-transcribe",
        utterances=found,
        language=_language(mapping(document), results),
        engine="aws-transcribe",
        warnings=warnings,
    )


class _Speakers:
    """Who speaks when, for files whose labels carry times and no words."""

    def __init__(self, labels: Json) -> None:
        self._exact: dict[tuple[float, float], str] = {}
        spans: list[tuple[float, float, str]] = []
        for segment in objects(labels.get("segments")):
            whose = speaker(segment.get("speaker_label"))
            for part in (segment, *objects(segment.get("items"))):
                start, end = seconds(part.get("start_time")), seconds(part.get("end_time"))
                who = speaker(part.get("speaker_label")) or whose
                if who is None or start is None or end is None:
                    continue
                if part is segment:
                    spans.append((start, end, who))
                else:
                    self._exact[(round(start, 3), round(end, 3))] = who
        self._spans = sorted(spans)
        self._starts = [start for start, _, _ in self._spans]

    def at(self, start: float | None, end: float | None) -> str | None:
        """The label of an item's own times, else of the latest turn that its middle falls into."""
        if start is None:
            return None
        end = start if end is None else end
        exact = self._exact.get((round(start, 3), round(end, 3)))
        if exact:
            return exact
        middle = (start + end) / 2
        latest = bisect_right(self._starts, middle)
        for _, until, who in reversed(self._spans[max(0, latest - 8) : latest]):
            if middle <= until:
                return who
        return None


def _spoken(items: Iterable[Json], speakers: _Speakers, channel: str | None = None) -> list[Spoken]:
    """Words in the file's order, each with the punctuation that belongs to it."""
    words: list[Spoken] = []
    opening = ""
    for item in items:
        readings = objects(item.get("alternatives"))
        texts = [one_line(string(reading.get("content"))) for reading in readings] or [
            one_line(string(item.get("content")))
        ]
        text = texts[0]
        if not text:
            continue
        if item.get("type") == "punctuation":
            if text in _OPENING or not words:
                opening += text
            else:
                words[-1].text += text
            continue
        start, end = seconds(item.get("start_time")), seconds(item.get("end_time"))
        words.append(
            Spoken(
                text=opening + text,
                start=start,
                end=end,
                confidence=probability(readings[0].get("confidence") if readings else item.get("confidence")),
                speaker=channel or speaker(item.get("speaker_label")) or speakers.at(start, end),
                alternatives=tuple(other for other in texts[1:] if other),
            )
        )
        opening = ""
    for word, before in zip(words[1:], words, strict=False):
        if word.speaker is None and channel is None:
            word.speaker = before.speaker
    return words


def _audio_segments(results: Json, items: Sequence[Json]) -> list[Utterance]:
    """AWS's own turns; none when they leave out a word of the items."""
    segments = objects(results.get("audio_segments"))
    if not items:
        return [turn for entry in segments for turn in _bare_segment(entry)]
    by_id = {str(item["id"]): item for item in items if "id" in item}
    cited = [[str(each) for each in ids] if isinstance(ids := entry.get("items"), list) else [] for entry in segments]
    spoken = {key for key, item in by_id.items() if item.get("type") != "punctuation"}
    unnumbered = sum("id" not in item for item in items)
    if unnumbered or not spoken <= {each for ids in cited for each in ids}:
        return []
    speakers = _Speakers(mapping(results.get("speaker_labels")))
    found: list[Utterance] = []
    for entry, ids in zip(segments, cited, strict=True):
        label = speaker(entry.get("speaker_label")) or speaker(entry.get("channel_label"))
        words = _spoken((by_id[each] for each in ids if each in by_id), speakers, label)
        found += utterances(words) if len(words) > 60 else [utterance(words)] if words else []
    return found


def _bare_segment(entry: Json) -> list[Utterance]:
    start, end = seconds(entry.get("start_time")), seconds(entry.get("end_time"))
    label = speaker(entry.get("speaker_label")) or speaker(entry.get("channel_label"))
    return [Utterance(string(entry.get("transcript")), start, end, label)]


def _channels(results: Json, items: Sequence[Json]) -> dict[str, list[Json]]:
    """Items by channel, from the channels' own lists or from labels on the items; empty for a single stream."""
    labels = mapping(results.get("channel_labels"))
    found: dict[str, list[Json]] = {}
    for number, entry in enumerate(objects(labels.get("channels"))):
        found[speaker(entry.get("channel_label")) or f"ch_{number}"] = objects(entry.get("items"))
    if any(found.values()):
        return found
    found = {}
    latest: str | None = None
    for item in items:
        latest = speaker(item.get("channel_label")) or latest
        if latest is None:
            return {}
        found.setdefault(latest, []).append(item)
    return found


def _segment_alternatives(results: Json) -> list[Utterance]:
    """``results.segments``, which is there when alternatives were asked for: the first one counts."""
    found: list[Utterance] = []
    for entry in objects(results.get("segments")):
        best = next(iter(objects(entry.get("alternatives"))), {})
        words = _spoken(objects(best.get("items")), _Speakers(mapping(results.get("speaker_labels"))))
        found += utterances(in_time(words)) or _bare_segment({**entry, "transcript": best.get("transcript")})
    return [turn for turn in found if turn.text]


def _texts(results: Json) -> list[Utterance]:
    """The full text alone, when there is nothing else."""
    return [
        Utterance(piece)
        for entry in objects(results.get("transcripts"))
        for piece in sentences(one_line(string(entry.get("transcript"))))
    ]


def _agrees(results: Json, found: Sequence[Utterance], *, in_order: bool) -> bool:
    """Whether the rebuilt text equals the full text but for whitespace; channels may be told in another order."""
    full = "".join(string(next(iter(objects(results.get("transcripts"))), {}).get("transcript")).split())
    rebuilt = "".join("".join(turn.text.split()) for turn in found)
    return not full or (full == rebuilt if in_order else sorted(full) == sorted(rebuilt))


def _language(document: Json, results: Json) -> str | None:
    """The one language, or of several the one that was spoken longest."""
    for place in (results, document):
        code = place.get("language_code")
        several = objects(place.get("language_codes")) or objects(place.get("language_identification")) or objects(code)
        longest = max(
            several,
            key=lambda entry: seconds(entry.get("duration_in_seconds")) or probability(entry.get("score")) or 0.0,
            default={},
        )
        if isinstance(code, list) and code and isinstance(code[0], str):
            code = code[0]
        tag = language(code) or language(longest.get("language_code")) or language(longest.get("code"))
        if tag:
            return tag
    return None
