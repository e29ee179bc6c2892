"""Jobs from the outside: files, and the classic job event in all its variants."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import AsrDone, DocReady, Event, Media, MediaUploaded
from stenobus_core import Plugin
from stenobus_core.follow import check_chain
from stenobus_core.job import Job, JobError

VIDEO = "s3://videos/2026/Team%20talk.mp4"
TRANSCRIPT = "s3://transcripts/talk.json"


def classic(**event: Any) -> Job:
    return Job.from_classic(json.dumps({"execution_id": "exec-1", **event}))


def test_a_video_is_to_be_transcribed() -> None:
    job = classic(video_s3_uri=VIDEO)
    assert job.execution_id == "exec-1"
    assert job.event == MediaUploaded(media=Media(uri=VIDEO, name="Team talk.mp4"), metadata={"execution_id": "exec-1"})
    assert job.stem == "Team-talk"


def test_a_video_with_what_is_known_of_it() -> None:
    event = classic(video_s3_uri=VIDEO, video_metadata={"duration": 61.5, "size_bytes": 7, "codec": "h264"}).event
    assert isinstance(event, MediaUploaded)
    assert (event.media.duration_seconds, event.media.size) == (61.5, 7)


def test_a_transcript_needs_no_speech_recognition() -> None:
    job = classic(transcription_s3_uri=TRANSCRIPT)
    assert isinstance(job.event, AsrDone)
    assert (job.event.transcript.uri, job.event.media) == (TRANSCRIPT, None)
    assert job.stem == "talk"


def test_a_transcript_wins_over_its_video_which_is_remembered() -> None:
    job = classic(video_s3_uri=VIDEO, transcription_s3_uri=TRANSCRIPT, customer={"id": 7})
    assert isinstance(job.event, AsrDone)
    assert job.event.media is not None
    assert (job.event.transcript.uri, job.event.media.uri) == (TRANSCRIPT, VIDEO)
    assert job.event.metadata == {"execution_id": "exec-1", "customer": {"id": 7}}
    assert job.stem == "Team-talk"


def test_empty_and_null_fields_are_absent_ones() -> None:
    job = classic(video_s3_uri=VIDEO, transcription_s3_uri="", video_metadata={"duration": None})
    assert isinstance(job.event, MediaUploaded)
    assert isinstance(classic(video_s3_uri=None, transcription_s3_uri=TRANSCRIPT).event, AsrDone)


def test_title_and_language_go_into_the_event() -> None:
    event = Job.from_classic(
        json.dumps({"execution_id": "1", "video_s3_uri": VIDEO}), title="A talk", language="pt-BR"
    ).event
    assert isinstance(event, MediaUploaded)
    assert (event.title, event.language) == ("A talk", "pt-BR")


@pytest.mark.parametrize("sources", [{"video_s3_uri": VIDEO}, {"transcription_s3_uri": TRANSCRIPT}])
@pytest.mark.parametrize(("own", "given", "wanted"), [(None, "es", "es"), ("pt", "es", "pt"), (None, None, None)])
def test_the_language_of_the_document_is_the_events_own_or_the_given_one(
    sources: dict[str, str], own: str | None, given: Any, wanted: str | None
) -> None:
    text = json.dumps({"execution_id": "1", **sources, "document_language": own})
    event = Job.from_classic(text, document_language=given).event
    assert isinstance(event, MediaUploaded | AsrDone)
    assert event.document_language == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The job event is invalid: the event: Invalid JSON"),
        ("[]", "The job event is invalid: the event: "),
        ("{}", "The job event is invalid: execution_id: Field required."),
        ('{"execution_id": ""}', "The job event is invalid: execution_id: "),
        ('{"execution_id": 7, "video_s3_uri": "s3://b/k"}', "The job event is invalid: execution_id: "),
        ('{"execution_id": "1"}', "The job event needs video_s3_uri or transcription_s3_uri."),
        ('{"execution_id": "1", "video_s3_uri": "talk.mp4"}', "The job event is invalid: uri: "),
        ('{"execution_id": "1", "video_s3_uri": ["s3://b/k"]}', "The job event is invalid: video_s3_uri: "),
        (
            '{"execution_id": "1", "video_s3_uri": "s3://b/k", "document_language": "tlh"}',
            "The job event is invalid: document_language: ",
        ),
        (
            '{"execution_id": "1", "video_s3_uri": "s3://b/k", "video_metadata": {"duration": -1}}',
            "The job event is invalid: video_metadata.duration: ",
        ),
    ],
)
def test_a_wrong_event_is_the_senders_fault_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(JobError) as error:
        Job.from_classic(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert (error.value.status, error.value.error) == (400, "InvalidEvent")


def test_bytes_that_are_no_text_are_a_wrong_event() -> None:
    with pytest.raises(JobError, match="The job event is invalid"):
        Job.from_classic(b"\xff\xfe{}")


@pytest.mark.parametrize(
    ("name", "contract"), [("talk.MP4", MediaUploaded), ("talk", MediaUploaded), ("a.SRT", AsrDone)]
)
def test_a_file_is_a_recording_unless_its_name_says_that_it_is_a_transcript(
    tmp_path: Path, name: str, contract: type[Event]
) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    job = Job.from_file(path, document_language="pt")
    assert isinstance(job.event, contract)
    assert job.event.model_dump()["document_language"] == "pt"
    assert job.stem == Path(name).stem


def test_what_cannot_be_processed_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "no.wav": "does not exist.", "empty.wav": "is empty.", ".": "is a folder; name a file.",
        "a.pdf": "is a document already; `stenobus ingest add` puts it into the knowledge base.",
        "pipe": "is no regular file; write its content into one.",
    }.items():  # fmt: skip
        with pytest.raises(JobError) as error:
            Job.from_file(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name} {message}"
        assert error.value.status == 400


async def transcribe(event: MediaUploaded) -> AsrDone: ...  # type: ignore[empty-body]
async def document(event: AsrDone) -> DocReady: ...  # type: ignore[empty-body]


def test_a_chain_that_does_not_lead_to_a_document_is_named_before_it_is_begun() -> None:
    plugin = Plugin("acme")
    plugin.handler()(transcribe)
    with pytest.raises(JobError, match=r"No running plugin handles asr\.done; switch on the plugin that does\."):
        check_chain(plugin.handlers, MediaUploaded)
    plugin.handler(name="acme-document")(document)
    check_chain(plugin.handlers, MediaUploaded)
    with pytest.raises(JobError, match=r"No running plugin handles media\.uploaded"):
        check_chain(plugin.handlers[1:], MediaUploaded)
