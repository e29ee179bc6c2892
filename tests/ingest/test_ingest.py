"""From an upload to a hit, on the real bus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from stenobus_contracts import IngestDone, IngestedDocument, KbSync, KbSynced, Media, MediaUploaded, OcrDone
from stenobus_core.blobs import Blobs
from stenobus_ingest import plugin
from stenobus_ingest.followers import upload as add
from stenobus_kb import plugin as kb
from stenobus_kb.search_command import search
from stenobus_testing import Stage

from .conftest import WORD


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kb.sqlite"
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    return path


async def upload(stage: Stage, data: bytes, name: str, **facts: object) -> MediaUploaded:
    ref = await stage.put(data, "application/octet-stream")
    return MediaUploaded.model_validate({"media": Media(uri=ref.uri, name=name), **facts})


@pytest.mark.parametrize("suffix", ["docx", "html", "pdf", "pptx", "xlsx", "eml", "csv", "md"])
async def test_what_is_uploaded_can_be_found(stage: Stage, samples: Mapping[str, bytes], suffix: str) -> None:
    await stage.run(plugin, kb)
    await stage.publish(await upload(stage, samples[suffix], f"file.{suffix}", metadata={"collection": "handbook"}))
    outcome = await stage.run_until_idle()
    assert outcome.letters == ()
    [synced] = outcome.of(KbSynced)
    assert KbSynced.model_validate_json(synced.data).added == 1

    found = CliRunner().invoke(search, [WORD, "--collection", "handbook", "--json"])
    assert found.exit_code == 0, found.output
    hit = json.loads(found.output)["results"][0]
    done = IngestDone.model_validate_json(outcome.of(IngestDone)[0].data)
    assert (hit["title"], hit["document"]) == (done.title, done.media.uri)


async def test_the_record_says_what_is_in_the_document(stage: Stage, samples: Mapping[str, bytes]) -> None:
    await stage.run(plugin)
    await stage.publish(await upload(stage, samples["docx"], "policy.docx"))
    outcome = await stage.run_until_idle()
    done = IngestDone.model_validate_json(outcome.of(IngestDone)[0].data)
    record = IngestedDocument.model_validate_json(await Blobs(stage.settings, stage.bus).read(done.record))
    assert (record.format, record.method, record.author) == ("docx", "rule", "Ana Pérez")
    assert record.facts.document_type == "policy"
    assert [(each.date, each.quote) for each in record.facts.dates] == [("2026-03-12", "12 March 2026")]
    assert [(each.kind, each.name) for each in record.facts.entities] == [("email", "ops@example.org")]
    [step] = outcome.steps
    assert step.facts["document_type"] == "policy" and step.facts["record"] == done.record.uri


async def test_text_that_another_plugin_recognised_is_taken(stage: Stage) -> None:
    await stage.run(plugin)
    text = await stage.put(f"Invoice\n\nOne {WORD}, 2026-05-03.".encode(), "text/plain")
    media = Media(uri="file:///scan.png")
    await stage.publish(OcrDone(text=text, media=media, engine="acme", pages=1, metadata={"collection": "scans"}))
    outcome = await stage.run_until_idle()
    assert outcome.letters == ()
    sync = KbSync.model_validate_json(outcome.of(KbSync)[0].data)
    assert (sync.collection, sync.upsert[0].id, sync.upsert[0].title) == ("scans", "file:///scan.png", "Invoice")
    assert sync.upsert[0].metadata["format"] == "ocr"


async def test_recordings_transcripts_and_images_are_left_to_others(stage: Stage) -> None:
    await stage.run(plugin)
    for name, data in {
        "talk.wav": b"RIFF\x10\0\0\0WAVEfmt ",
        "talk.txt": b"The disk was full.",
        "scan.png": b"\x89PNG\r\n",
        "unnamed": b"The disk was full.",
        "sound": b"OggS\0\2",
    }.items():
        await stage.publish(await upload(stage, data, name))
    outcome = await stage.run_until_idle()
    assert outcome.letters == () and outcome.of(KbSync) == []


async def test_plain_text_is_read_when_the_producer_says_that_it_is_a_document(stage: Stage) -> None:
    await stage.run(plugin)
    await stage.publish(await upload(stage, b"Minutes of 5 May 2026\n\nNothing.", "minutes.txt", kind="document"))
    outcome = await stage.run_until_idle()
    assert outcome.letters == () and len(outcome.of(KbSync)) == 1


async def test_who_may_find_it_and_under_what_name_is_passed_on(stage: Stage, samples: Mapping[str, bytes]) -> None:
    await stage.run(plugin)
    told = {"principals": ["group:hr"], "document_id": "handbook/1", "url": "https://example.org/1"}
    await stage.publish(await upload(stage, samples["md"], "a.md", metadata=told))
    outcome = await stage.run_until_idle()
    [document] = KbSync.model_validate_json(outcome.of(KbSync)[0].data).upsert
    assert (document.principals, document.id, document.uri) == (("group:hr",), "handbook/1", "https://example.org/1")


@pytest.mark.parametrize("told", [{"principals": "group:hr"}, {"principals": [1]}, {"collection": "No Way"}])
async def test_metadata_that_cannot_be_is_refused_not_guessed(
    stage: Stage, samples: Mapping[str, bytes], told: dict[str, object]
) -> None:
    await stage.run(plugin)
    await stage.publish(await upload(stage, samples["md"], "a.md", metadata=told))
    outcome = await stage.run_until_idle()
    [letter] = outcome.letters
    assert letter.letter.reason == "permanent" and next(iter(told)) in letter.letter.message
    assert outcome.of(KbSync) == []


async def test_the_next_version_of_a_local_file_takes_its_place(stage: Stage, tmp_path: Path) -> None:
    await stage.run(plugin, kb)
    blobs, path = Blobs(stage.settings, stage.bus), tmp_path / "note.txt"
    for text in ("# Old\n\nThe gnu grazes.", "# New\n\nThe newt swims."):
        path.write_text(text)
        await add(stage.bus, blobs, path, {"collection": "handbook"})
        assert (await stage.run_until_idle()).letters == ()
    changes = [KbSynced.model_validate_json(each.data) for each in await stage.stored(KbSynced)]
    assert [(each.added, each.updated) for each in changes] == [(1, 0), (0, 1)]
    found = await asyncio.to_thread(CliRunner().invoke, search, ["newt", "--json"])
    assert json.loads(found.output)["results"][0]["uri"] == path.as_uri()
