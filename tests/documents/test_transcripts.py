"""Subtitles, Whisper-style JSON, plain text, the internal form, and what is no transcript at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenobus_contracts import Segment, Transcript, Word
from stenobus_documents.noise import mark
from stenobus_documents.text import printable
from stenobus_documents.transcripts import Limits, Parsed, TranscriptError, read


def segments(data: str | bytes | object) -> list[Segment]:
    raw = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
    return list(read(raw).transcript(Limits()).segments)


def told(data: str | bytes | object) -> list[tuple[float | None, float | None, str | None, str]]:
    return [(s.start, s.end, s.speaker, s.text) for s in segments(data)]


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>The disk</i> is full.

2
00:00:03,000 --> 00:00:04,000
{\\an8}Run df -h
now.
"""


def test_srt() -> None:
    assert told(SRT) == [(1.0, 2.5, None, "The disk is full."), (3.0, 4.0, None, "Run df -h now.")]
    assert read(SRT.encode()).format == "srt"


@pytest.mark.parametrize(
    "broken",
    [
        SRT.replace("\n", "\r\n"),
        SRT.replace("\n", "\r"),
        "\ufeff" + SRT,
        SRT.replace(",", "."),
        SRT.replace("1\n0", "0", 1).replace("2\n0", "0", 1),
        SRT.replace("\n\n", "\n"),
        SRT.rstrip(),
    ],
)
def test_srt_as_it_is_found(broken: str) -> None:
    assert [text for *_, text in told(broken)] == ["The disk is full.", "Run df -h now."]


def test_srt_in_other_encodings() -> None:
    text = SRT.replace("full", "plein à craquer")
    assert "à" in segments(text.encode("cp1252"))[0].text
    assert "à" in segments(text.encode("utf-16"))[0].text


def test_vtt_with_all_its_parts() -> None:
    vtt = """WEBVTT - talk
Kind: captions

STYLE
::cue { color: red }

NOTE 00:00 --> not a cue

intro
00:01.000 --> 00:02.000 align:start position:0%
<v.loud Ana Lima>A &lt;tag&gt; &amp; more</v>

00:01:02.000 --> 00:01:03.000
<c.yellow>plain</c> <b>words</b>
"""
    assert told(vtt) == [(1.0, 2.0, "Ana Lima", "A <tag> & more"), (62.0, 63.0, None, "plain words")]
    assert read(vtt.encode()).format == "vtt"


def test_rolling_captions_are_said_once() -> None:
    vtt = """WEBVTT

00:00.000 --> 00:02.000
the disk<00:00.500><c> is</c><00:01.000><c> full</c>

00:02.000 --> 00:02.010
the disk is full

00:02.010 --> 00:04.000
the disk is full
run<00:02.500><c> df</c>
"""
    assert [text for *_, text in told(vtt)] == ["the disk is full", "run df"]


def test_repeated_lines_of_ordinary_subtitles_stay() -> None:
    srt = "00:00:01,000 --> 00:00:02,000\nNo.\n\n00:00:02,000 --> 00:00:03,000\nNo.\n"
    assert [text for *_, text in told(srt)] == ["No.", "No."]


def test_a_header_without_cues_is_an_error() -> None:
    with pytest.raises(TranscriptError, match="no cue"):
        segments("WEBVTT\n\n")


WHISPER: dict[str, Any] = {
    "text": " The disk is full. Run df.",
    "language": "en",
    "segments": [
        {
            "id": 0,
            "start": 0.0,
            "end": 2.0,
            "text": " The disk is full.",
            "words": [{"word": " The", "start": 0.0, "end": 0.4, "probability": 0.5, "speaker": "SPEAKER_00"}],
        },
        {"id": 1, "start": 2.0, "end": 3.5, "text": " Run df.", "words": [{"word": "100"}], "speaker": "SPEAKER_01"},
    ],
}


def test_whisper_json() -> None:
    assert told(WHISPER) == [
        (0.0, 2.0, "SPEAKER_00", "The disk is full."),
        (2.0, 3.5, "SPEAKER_01", "Run df."),
    ]
    first = segments(WHISPER)[0]
    assert first.words == (Word(text="The", start=0, end=0.4, probability=0.5, speaker="SPEAKER_00"),)
    assert first.confidence == 0.5
    assert read(json.dumps(WHISPER).encode()).language == "en"


def test_a_bare_list_of_segments_and_one_per_line() -> None:
    entries = WHISPER["segments"]
    assert [text for *_, text in told(entries)] == ["The disk is full.", "Run df."]
    assert [text for *_, text in told("\n".join(map(json.dumps, entries)))] == ["The disk is full.", "Run df."]


def test_whisper_cpp_counts_milliseconds() -> None:
    hour3 = 3 * 3_600_000
    document = {
        "result": {"language": "pt"},
        "transcription": [{"offsets": {"from": hour3, "to": hour3 + 500}, "text": " Disco cheio."}],
    }
    assert told(document) == [(10800.0, 10800.5, None, "Disco cheio.")]


def test_text_alone_has_no_times() -> None:
    assert told({"text": "The disk is full."}) == [(None, None, None, "The disk is full.")]


def test_the_internal_form_comes_back_as_it_was() -> None:
    transcript = Transcript(
        segments=(
            Segment(id="S0001", text="The disk is full.", start=0, end=2, speaker="spk_0", kind="small_talk"),
            Segment(id="S0002", text="Run df.", start=2, end=3, words=(Word(text="Run", start=2, end=2.4),)),
        ),
        language="en",
        duration_seconds=4,
    )
    parsed = read(transcript.model_dump_json().encode())
    assert parsed.format == "stenobus"
    assert parsed.transcript(Limits()) == transcript


def test_an_internal_form_with_a_wrong_field_names_it() -> None:
    with pytest.raises(TranscriptError, match=r"segments\.0\.start"):
        segments({"segments": [{"id": "S0001", "text": "x", "start": "soon"}]})


def test_plain_text_becomes_sentences_without_times() -> None:
    text = "The disk was full and the nightly build of the agent failed with an error on the host. " * 2 + "Run df."
    assert [(s.start, s.end) for s in segments(text)] == [(None, None)] * 3
    assert " ".join(s.text for s in segments(text)) == text


def test_plain_text_with_times() -> None:
    text = "[00:00:05] The disk is full.\n[00:01:10] Run df -h\nand look.\n"
    assert told(text) == [(5.0, 70.0, None, "The disk is full."), (70.0, 70.0, None, "Run df -h and look.")]
    assert told("0:05 one\n1:10 two") == [(5.0, 70.0, None, "one"), (70.0, 70.0, None, "two")]


def test_a_time_in_a_sentence_is_no_timestamp() -> None:
    assert segments("It failed.\n12:30 is when it happened.\nThen it failed again.\nAnd again.")[0].start is None


def test_names_and_times_on_lines_of_their_own() -> None:
    text = "Ana Lima  0:03\nThe disk is full.\nReally.\n\nBob  1:00:07\nRun df.\n"
    assert told(text) == [(3.0, 3607.0, "Ana Lima", "The disk is full. Really."), (3607.0, 3607.0, "Bob", "Run df.")]


def test_speakers_before_a_colon() -> None:
    text = "Ana: The disk is full.\nBob: Run df.\nAna: Thanks.\nBob: Sure: always.\n"
    assert [(s.speaker, s.text) for s in segments(text)][::3] == [
        ("Ana", "The disk is full."),
        ("Bob", "Sure: always."),
    ]
    assert segments("Speaker 1: The disk is full.")[0].speaker == "Speaker 1"


def test_a_log_line_is_no_speaker() -> None:
    text = "Error: disk full.\nWarning: slow.\nError: disk full.\nWarning: slow.\n"
    assert {s.speaker for s in segments(text)} == {None}
    assert "Error: disk full." in segments(text)[0].text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b'{"results": {"items": [{"type": "pronunci', "cut off"),
        (b'[{"text": "x"', "cut off"),
        (b'{"a": 1}', "no transcript that is known"),
        (b"[]", "no transcript that is known"),
        (b"[" * 100_000, "too deeply|cut off"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00", "binary"),
        (bytes(range(32)) * 50, "binary"),
        (b'{"text": ""}', "no words"),
    ],
)
def test_what_is_no_transcript_gets_one_clear_sentence(data: bytes, says: str) -> None:
    with pytest.raises(TranscriptError, match=says) as error:
        segments(data)
    assert str(error.value).count("\n") == 0


def test_json_by_name_is_not_read_as_text() -> None:
    with pytest.raises(TranscriptError, match="not valid JSON"):
        read(b"hello", name="talk.json")


def test_too_many_segments() -> None:
    parsed = read("\n\n".join(["a sentence."] * 11).encode())
    with pytest.raises(TranscriptError, match="more than 10 segments"):
        parsed.transcript(Limits(segments=10))


def test_long_segments_are_cut_at_sentences_and_keep_the_whole() -> None:
    text = "word " * 1000 + "end."
    pieces = segments(text)
    assert max(len(piece.text) for piece in pieces) <= 600
    assert " ".join(piece.text for piece in pieces) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[Music]", "noise"),
        ("(applause) ♪♪", "noise"),
        ("Uh, um, hmm.", "noise"),
        ("...", "noise"),
        ("Hello everyone, good morning!", "small_talk"),
        ("Thank you very much.", "small_talk"),
        ("Obrigado a todos, tchau!", "small_talk"),
        ("¿Me escuchan?", "small_talk"),
        ("[PII]", "speech"),
        ("Thanks, now restart nginx.", "speech"),
        ("Hello world is the test program.", "speech"),
        ("8080", "speech"),
        ("Yes.", "speech"),
    ],
)
def test_what_is_no_content_is_marked_and_kept(text: str, kind: str) -> None:
    marked = mark(Transcript(segments=(Segment(id="S0001", text=text),)))
    assert (marked.segments[0].kind, marked.segments[0].text) == (kind, text)


def check(parsed: Parsed) -> None:
    transcript = mark(parsed.transcript(Limits()))
    ids = [segment.id for segment in transcript.segments]
    assert ids == [f"S{number:04d}" for number in range(1, len(ids) + 1)]
    for segment in transcript.segments:
        assert segment.text == printable(segment.text).strip() != ""
        assert segment.start is None or (segment.end is not None and 0 <= segment.start <= segment.end)
    assert Transcript.model_validate_json(transcript.model_dump_json()) == transcript


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "results",
        "items",
        "transcripts",
        "transcript",
        "speaker_labels",
        "segments",
        "channel_labels",
        "channels",
        "audio_segments",
        "alternatives",
        "content",
        "confidence",
        "start_time",
        "end_time",
        "type",
        "speaker_label",
        "id",
        "channel_label",
        "language_code",
        "text",
        "words",
        "word",
        "start",
        "end",
        "speaker",
        "transcription",
        "offsets",
        "from",
        "to",
        "probability",
        "status",
        "Transcript",
        "Results",
        "IsPartial",
    ]
)
VALUES = st.sampled_from(
    ["pronunciation", "punctuation", "spk_0", "0.5", 1.5, 0, -1, "x", "S0001", None, "nan", ".", "\ud800"]
)
SHAPED = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_transcript_or_an_error_that_says_why(data: bytes) -> None:
    try:
        check(read(data))
    except TranscriptError as error:
        assert str(error)


@settings(max_examples=400, deadline=None)
@given(JSON | SHAPED | st.builds(lambda inner: {"results": inner}, st.dictionaries(NAMES, SHAPED, max_size=6)))
def test_any_json_is_a_transcript_or_an_error_that_says_why(document: object) -> None:
    try:
        check(read(json.dumps(document).encode()))
    except TranscriptError as error:
        assert str(error)


PIECES = st.sampled_from(
    [
        "WEBVTT",
        "\n\n",
        "\n",
        "00:00:01,000 --> 00:00:02,000",
        "0:05 ",
        "[00:01] ",
        "Ana: ",
        "Speaker 1: ",
        "<v Bob>",
        "1",
        "Ana  0:03",
        "٣:٤٥",
        "{",
        "[",
        "<00:00.500>",
        "&lt;",
        "text.",
        "\x00",
        "\ufeff",
        "\u202e",
        "文。",
        "-->",
        "NOTE x",
        "\r",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_any_text_is_a_transcript_or_an_error_that_says_why(text: str) -> None:
    try:
        check(read(text.encode()))
    except TranscriptError as error:
        assert str(error)
