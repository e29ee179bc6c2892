"""The main job, as a user runs it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docx import Document

from stenobus_bus import Bus
from stenobus_bus.history import read

from .conftest import Stenobus

STAGES = ["clean", "extract", "map", "outline", "write", "output"]


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


@pytest.mark.timeout(1800)  # to hear it all takes most of a minute, and many of them where others want the cores too
def test_a_recording_becomes_a_document_that_can_be_found_and_a_second_run_is_cached(
    stenobus: Stenobus, recording: Path
) -> None:
    first = stenobus.json("process", recording, "--out", "out")

    body = first["body"]
    assert first["statusCode"] == 200
    assert body["asr"]["engine"] == "pocketsphinx"
    assert body["method"] == "extractive"
    assert body["cost_usd"] == 0
    assert body["tokens_used"] == {"input": 0, "output": 0, "total": 0}
    assert body["stages_completed"] == 6
    assert [stage["stage"] for stage in body["stages"]] == STAGES
    assert "hard drive" in _path(body["markdown_uri"]).read_text().lower()
    assert Document(str(_path(body["docx_uri"]))).paragraphs
    assert json.loads((stenobus.folder / "out" / "disk-full.result.json").read_text()) == first

    hits = stenobus.json("search", "hard drive full")["results"]
    assert hits[0]["title"] == body["title"]

    second = stenobus.json("process", recording, "--out", "again")["body"]
    assert {"asr", *(f"documents-{stage}" for stage in STAGES)} <= set(second["stages_cached"])
    for kind in ("markdown_uri", "docx_uri"):
        assert _path(second[kind]).read_bytes() == _path(body[kind]).read_bytes()


def test_the_classic_job_event_with_an_aws_transcript_gives_the_classic_answer(
    stenobus: Stenobus, recording: Path, aws_transcript: Path
) -> None:
    event = {
        "execution_id": "exec-42",
        "video_s3_uri": recording.as_uri(),
        "transcription_s3_uri": aws_transcript.as_uri(),
        "video_metadata": {"duration": 150, "size_bytes": recording.stat().st_size},
    }
    (stenobus.folder / "event.json").write_text(json.dumps(event))

    body = stenobus.json("process", "--event", "event.json", "--out", "out")["body"]

    assert body["execution_id"] == "exec-42"
    assert body["stages_completed"] == 6
    assert body["chunks_processed"] >= 1
    markdown = _path(body["markdown_uri"]).read_text()
    assert "root cause" in markdown.lower()
    assert "No language model was used" in markdown


def test_a_person_sees_stages_engine_costs_and_places(stenobus: Stenobus, aws_transcript: Path) -> None:
    done = stenobus("process", aws_transcript, "--out", "out")
    assert "documents-write" in done.stderr  # progress
    for word in ("Stage", "Cost", "Method     extractive", "disk-full.md", "disk-full.docx", "disk-full.result.json"):
        assert word in done.stdout

    run = done.stdout.rpartition("stenobus trace ")[2].split("`")[0]
    assert "doc.ready" in stenobus("trace", run).stdout
    assert run in stenobus("status").stdout
    assert "documents-write" in stenobus("status", run).stdout
    assert len(stenobus.json("replay", "documents-write", "--run", run, "--dry-run")["events"]) == 1
    assert stenobus.json("dlq", "list")["total"] == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("nothing.wav", b"", "is empty"),
        ("noise.mp3", b"this is no audio at all" * 99, "noise.mp3"),
        ("page.pdf", b"%PDF-1.7 not a recording", "page.pdf"),
        ("cut.json", b'{"jobName": "x", "results": {"items": [', "JSON"),
        ("other.json", b'{"hello": "world"}', "transcript"),
        ("blank.txt", b" \n\t\n", "empty"),
        ("blank.srt", b"\n\n", "empty"),
    ],
)
def test_an_unusable_file_gives_one_sentence(stenobus: Stenobus, name: str, content: bytes, sentence: str) -> None:
    (stenobus.folder / name).write_bytes(content)

    answer = stenobus.json("process", name, expect=2)

    assert answer["statusCode"] == 400
    assert sentence in answer["body"]["message"]
    assert "\n" not in answer["body"]["message"].strip()
    assert "Traceback" not in stenobus("process", name, expect=2).stderr


def test_a_missing_file_and_a_broken_event_give_one_sentence(stenobus: Stenobus) -> None:
    assert stenobus("process", "nowhere.wav", expect=2).stderr == "Error: nowhere.wav does not exist.\n"
    (stenobus.folder / "event.json").write_text('{"execution_id": "x"}')
    error = stenobus.json("process", "--event", "event.json", expect=2)["body"]
    assert error == {"error": "InvalidEvent", "message": "The job event needs video_s3_uri or transcription_s3_uri."}


def test_a_data_folder_that_cannot_be_used_gives_one_sentence(stenobus: Stenobus, aws_transcript: Path) -> None:
    (stenobus.folder / "file").write_text("in the way")
    stenobus.environment["STENOBUS_DATA_DIR"] = str(stenobus.folder / "file" / "data")
    error = stenobus.json("process", aws_transcript, expect=1)["body"]
    assert "STENOBUS_DATA_DIR" in error["message"]


def test_a_pipeline_with_a_hole_is_refused_before_anything_starts(stenobus: Stenobus, aws_transcript: Path) -> None:
    stenobus.environment["STENOBUS_PLUGINS_OFF"] = "documents-map"
    error = stenobus.json("process", aws_transcript, expect=1)["body"]
    assert "doc.extracted" in error["message"]


def test_ctrl_c_in_the_middle_leaves_nothing_running_and_loses_nothing(stenobus: Stenobus, recording: Path) -> None:
    process = stenobus.start("process", recording, "--out", "out")
    assert process.stderr is not None
    for line in process.stderr:
        if "asr" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not stenobus.server_runs


async def test_a_bare_message_starts_a_run(stenobus: Stenobus, aws_transcript: Path) -> None:
    process = stenobus.start("up")
    assert process.stderr is not None
    url = next(json.loads(line)["url"] for line in process.stderr if '"event": "up"' in line)
    async with await Bus.connect(url) as bus:
        # What `nats pub asr.done '{"transcript": …}'` sends: no headers, no acknowledgement asked for.
        synced = await bus.nc.subscribe("kb.synced")
        await bus.nc.publish("asr.done", json.dumps({"transcript": {"uri": aws_transcript.as_uri()}}).encode())
        await synced.next_msg(timeout=60)
        assert len([event async for event in read(bus, "DOC", "doc.ready")]) == 1
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped." in errors
