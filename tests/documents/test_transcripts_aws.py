"""AWS Transcribe batch results, one test for each way in which real files differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stenobus_contracts import Transcript
from stenobus_documents.transcripts import Limits, Parsed, TranscriptError, read


def word(content: str, start: object, end: object, **more: Any) -> dict[str, Any]:
    return {
        "type": "pronunciation",
        "start_time": start,
        "end_time": end,
        "alternatives": [{"content": content, "confidence": "0.9"}],
        **more,
    }


def mark(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "punctuation", "alternatives": [{"content": content, "confidence": "0.0"}], **more}


HELLO = [word("Restart", "0.5", "1.0"), word("nginx", "1.0", "1.6"), mark("."), word("Done", "2.0", "2.4"), mark(".")]


def batch(items: list[dict[str, Any]] | None = None, text: str | None = None, **results: Any) -> dict[str, Any]:
    full = {"transcripts": [{"transcript": text}]} if text is not None else {}
    return {
        "jobName": "j",
        "accountId": "1",
        "status": "COMPLETED",
        "results": {**full, **({"items": items} if items is not None else {}), **results},
    }


def parse(document: object) -> tuple[Transcript, Parsed]:
    parsed = read(json.dumps(document).encode())
    return parsed.transcript(Limits()), parsed


def said(transcript: Transcript) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text) for segment in transcript.segments]


def test_items_alone_are_enough_and_punctuation_hangs_on_the_word_before() -> None:
    transcript, parsed = parse(batch(HELLO, "Restart nginx. Done."))
    assert transcript.text == "Restart nginx. Done."
    assert (transcript.segments[0].start, transcript.segments[0].end) == (0.5, 2.4)
    assert [w.text for w in transcript.segments[0].words] == ["Restart", "nginx.", "Done."]
    assert parsed.engine == "aws-transcribe" and not parsed.warnings


@pytest.mark.parametrize("number", ["4.87", 4.87, " 4.870 "])
def test_numbers_may_be_strings_or_numbers(number: object) -> None:
    transcript, _ = parse(batch([word("Go", number, 5)]))
    assert transcript.segments[0].start == 4.87


@pytest.mark.parametrize("number", [None, "", "n/a", "nan", "Infinity", True, {}, [], 1e300, "9" * 400])
def test_a_word_without_a_usable_time_is_kept_without_one(number: object) -> None:
    transcript, _ = parse(batch([word("Go", number, number)]))
    assert transcript.segments[0].text == "Go"
    assert transcript.segments[0].start is None


def test_confidence_of_punctuation_does_not_count() -> None:
    transcript, _ = parse(batch(HELLO))
    assert transcript.segments[0].confidence == pytest.approx(0.9)


def test_punctuation_without_times_or_confidence_at_the_very_end() -> None:
    transcript, _ = parse(batch([word("Why", "1", "2"), {"type": "punctuation", "alternatives": [{"content": "?"}]}]))
    assert transcript.segments[0].text == "Why?"
    assert transcript.segments[0].end == 2


def test_opening_punctuation_hangs_on_the_word_behind() -> None:
    transcript, _ = parse(batch([word("Bien", "0", "1"), mark("."), mark("¿"), word("Qué", "1", "2"), mark("?")]))
    assert transcript.text == "Bien. ¿Qué?"


def test_speaker_labels_on_the_items_win() -> None:
    items = [word("Hi", "0", "1", speaker_label="spk_0", id=0), word("Ho", "1", "2", speaker_label="spk_1", id=1)]
    transcript, _ = parse(batch(items, speaker_labels={"speakers": "2", "segments": []}))
    assert said(transcript) == [("spk_0", "Hi"), ("spk_1", "Ho")]


def test_speakers_are_joined_by_the_times_of_words() -> None:
    labels = {
        "speakers": 2,
        "segments": [
            {
                "start_time": "0.5",
                "end_time": "1.6",
                "speaker_label": "spk_0",
                "items": [
                    {"start_time": "0.5", "end_time": "1.0", "speaker_label": "spk_0"},
                    {"start_time": "1.0", "end_time": "1.6", "speaker_label": "spk_0"},
                ],
            },
            {
                "start_time": "2.0",
                "end_time": "2.4",
                "speaker_label": "spk_1",
                "items": [{"start_time": "2.0", "end_time": "2.4", "speaker_label": "spk_1"}],
            },
        ],
    }
    transcript, _ = parse(batch(HELLO, speaker_labels=labels))
    assert said(transcript) == [("spk_0", "Restart nginx."), ("spk_1", "Done.")]


def test_speakers_are_joined_by_overlap_when_times_differ() -> None:
    labels = {
        "segments": [
            {"start_time": "0.0", "end_time": "1.9", "speaker_label": "spk_0"},
            {"start_time": "1.9", "end_time": "3.0", "speaker_label": "spk_1", "items": "nonsense"},
        ]
    }
    transcript, _ = parse(batch(HELLO, speaker_labels=labels))
    assert said(transcript) == [("spk_0", "Restart nginx."), ("spk_1", "Done.")]


@pytest.mark.parametrize("labels", [None, {}, [], "x", {"segments": None}, {"segments": [None, 3, {}]}])
def test_absent_or_broken_speaker_labels_leave_the_speaker_open(labels: object) -> None:
    transcript, _ = parse(batch(HELLO, speaker_labels=labels))
    assert {segment.speaker for segment in transcript.segments} == {None}


def test_channels_overlap_in_time_and_become_turns_of_ch_n() -> None:
    channels: list[dict[str, Any]] = [
        {
            "channel_label": "ch_0",
            "items": [word("Can", "0.0", "0.2"), word("you", "0.2", "0.4"), word("see", "0.4", "0.6"), mark("?")],
        },
        {
            "channel_label": "ch_1",
            "items": [word("Yes", "0.3", "0.5"), mark("."), word("Now", "0.5", "0.7"), mark(".")],
        },
    ]
    flat = [item for channel in channels for item in channel["items"]]
    document = batch(flat, "Yes. Now. Can you see?", channel_labels={"channels": channels, "number_of_channels": 2})
    transcript, parsed = parse(document)
    assert said(transcript) == [("ch_0", "Can you see?"), ("ch_1", "Yes. Now.")]
    assert not parsed.warnings, "channels may be told in another order than the full text"


def test_channel_labels_on_the_items() -> None:
    items = [word("A", "0", "1", channel_label="ch_0"), word("B", "0.5", "1", channel_label="ch_1"), mark("!")]
    transcript, _ = parse(batch(items))
    assert said(transcript) == [("ch_0", "A"), ("ch_1", "B!")]


def audio_segment(number: int, ids: list[object], **more: Any) -> dict[str, Any]:
    return {"id": number, "transcript": "…", "start_time": "0", "end_time": "9", "items": ids, **more}


NUMBERED = [{**item, "id": number} for number, item in enumerate(HELLO)]


def test_audio_segments_are_the_turns_when_they_are_complete() -> None:
    segments = [audio_segment(0, [0, 1, 2], speaker_label="spk_0"), audio_segment(1, ["3", 4], speaker_label="spk_1")]
    transcript, parsed = parse(batch(NUMBERED, "Restart nginx. Done.", audio_segments=segments))
    assert said(transcript) == [("spk_0", "Restart nginx."), ("spk_1", "Done.")]
    assert not parsed.warnings


def test_audio_segments_that_leave_words_out_are_not_trusted() -> None:
    transcript, _ = parse(batch(NUMBERED, audio_segments=[audio_segment(0, [0, 99])]))
    assert transcript.text == "Restart nginx. Done."


def test_audio_segments_without_items_still_have_their_text() -> None:
    segments = [{"transcript": "Later.", "start_time": "5", "end_time": "6"}, {"transcript": "First.", "start_time": 1}]
    transcript, _ = parse(batch(None, audio_segments=segments))
    assert [(s.text, s.start) for s in transcript.segments] == [("First.", 1.0), ("Later.", 5.0)]


def test_alternatives_of_items_are_kept_and_the_first_is_said() -> None:
    item = word("nginx", "0", "1")
    item["alternatives"].append({"content": "engine x", "confidence": "0.3"})
    transcript, _ = parse(batch([item]))
    assert transcript.text == "nginx"
    assert transcript.segments[0].words[0].alternatives == ("engine x",)


def test_alternatives_of_segments_are_read_when_there_are_no_items() -> None:
    segments = [
        {
            "start_time": "0",
            "end_time": "2",
            "alternatives": [{"transcript": "Restart.", "items": []}, {"transcript": "x"}],
        },
        {
            "start_time": "2",
            "end_time": "3",
            "alternatives": [{"transcript": "It's up.", "items": [word("Up", "2", "3")]}],
        },
        {"start_time": "3", "end_time": "4", "alternatives": []},
    ]
    transcript, _ = parse(batch([], segments=segments))
    assert [segment.text for segment in transcript.segments] == ["Restart.", "Up"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"language_code": "en-US"}, "en-US"),
        ({"language_codes": [{"language_code": "es-US", "duration_in_seconds": 3}]}, "es-US"),
        (
            {
                "language_codes": [
                    {"language_code": "en-US", "duration_in_seconds": "3.5"},
                    {"language_code": "pt-BR", "duration_in_seconds": "90"},
                ]
            },
            "pt-BR",
        ),
        ({"language_identification": [{"code": "en-US", "score": "0.2"}, {"code": "de-DE", "score": "0.8"}]}, "de-DE"),
        ({"language_code": ["fr-FR", "en-US"]}, "fr-FR"),
        ({"language_code": 3}, None),
        ({"language_code": "not a language at all!"}, None),
    ],
)
def test_language_as_one_code_or_several(where: dict[str, Any], expected: str | None) -> None:
    assert parse(batch(HELLO, **where))[1].language == expected
    assert parse({**batch(HELLO), **where})[1].language == expected


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"TranscriptEvent": {"Transcript": {"Results": []}}}, "streaming"),
        ([{"TranscriptEvent": {}}, {"TranscriptEvent": {}}], "streaming"),
        ({"Transcript": {"Results": [{"IsPartial": True, "Alternatives": []}]}}, "streaming"),
        ({"Results": [{"ResultId": "x", "IsPartial": False, "StartTime": 0.1}]}, "streaming"),
        ({"UtteranceEvent": {"IsPartial": False}}, "streaming"),
        ({"ConversationCharacteristics": {}, "Transcript": [{"Content": "Hi"}]}, "Call Analytics"),
        ({"Participants": [{"ParticipantRole": "AGENT"}], "Transcript": []}, "Call Analytics"),
        ({"Transcript": [{"ParticipantRole": "AGENT", "Content": "Hi", "BeginOffsetMillis": 1}]}, "Call Analytics"),
        ({"TranscriptionJob": {"Transcript": {"TranscriptFileUri": "s3://b/k"}}}, "TranscriptFileUri"),
        ({"status": "FAILED", "results": {"items": []}}, "FAILED"),
    ],
)
def test_other_dialects_are_refused_by_name(document: object, says: str) -> None:
    with pytest.raises(TranscriptError, match=says):
        read(json.dumps(document).encode())


def test_streaming_events_one_per_line_are_refused_too() -> None:
    lines = b"\n".join(json.dumps({"TranscriptEvent": {"n": n}}).encode() for n in range(3))
    with pytest.raises(TranscriptError, match="streaming"):
        read(lines)


@pytest.mark.parametrize(
    "document",
    [batch([], ""), batch([]), batch(None, ""), batch([], None, segments=[], audio_segments=[]), batch([mark(".")])],
)
def test_an_empty_transcript_says_so(document: dict[str, Any]) -> None:
    with pytest.raises(TranscriptError, match="no words"):
        parse(document)


def test_a_full_text_without_items_is_better_than_nothing() -> None:
    transcript, _ = parse(batch([], "Restart nginx."))
    assert [(s.text, s.start) for s in transcript.segments] == [("Restart nginx.", None)]


def test_disorder_and_equal_starts() -> None:
    items = [word("late", "5", "6"), mark("."), word("first", "1", "2"), word("second", "1", "2"), mark(",")]
    transcript, _ = parse(batch(items))
    assert [segment.text for segment in transcript.segments] == ["first second,", "late."]


def test_ends_before_starts_are_clamped() -> None:
    transcript, _ = parse(batch([word("odd", "5", "4")]))
    assert (transcript.segments[0].start, transcript.segments[0].end) == (5, 5)


def test_redaction_marks_and_numbers_stay_as_they_are() -> None:
    items = [word("[PII]", "0", "1"), word("port", "1", "2"), word("8080", "2", "3"), word("--force", "3", "4")]
    assert parse(batch(items))[0].text == "[PII] port 8080 --force"


def test_scripts_without_spaces_stay_without_them() -> None:
    items = [word("重启", "0", "1"), word("服务", "1", "2"), mark("。"), word("nginx", "2", "3")]
    assert parse(batch(items, "重启服务。nginx"))[0].text == "重启服务。 nginx"


def test_a_byte_order_mark_and_control_characters_do_no_harm() -> None:
    document = batch([word("a\x00b\x0b", "0", "1"), word("\ud800c\ufffe", "1", "2")])
    text = read("\ufeff".encode() + json.dumps(document).encode()).transcript(Limits()).text
    assert text == "ab c"


def test_a_full_text_that_differs_is_a_warning() -> None:
    assert parse(batch(HELLO, "Something else."))[1].warnings


def test_a_pause_or_a_long_sentence_end_begins_a_new_segment() -> None:
    words = [word(f"w{n}", n * 0.3, n * 0.3 + 0.2) for n in range(40)]
    words.insert(30, mark("."))
    transcript, _ = parse(batch([*words, word("after", 60, 61)]))
    assert len(transcript.segments) == 3
    assert transcript.segments[-1].text == "after"
    assert transcript.segments[0].text.endswith("w29.")


def test_missing_ids_in_audio_segments_and_alien_parts() -> None:
    items: list[Any] = [{"type": "pronunciation"}, {}, None, 3, word("ok", "0", "1")]
    document = batch(items, audio_segments=[None, {"items": 3}])
    assert parse(document)[0].text == "ok"
