"""The plugin on a real bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, Envelope
from stenobus_contracts import BlobRef, DeadLetter, DocReady, DocumentSource, Event, KbDocument, KbSync, KbSynced, Media
from stenobus_core import CoreSettings, Host, PluginError
from stenobus_kb import plugin
from stenobus_kb.index import Index

from .conftest import search

TIMEOUT = 60.0


class Producer:
    """Publishes events and hears what comes of them."""

    def __init__(self, bus: Bus, synced: Any, dead: Any) -> None:
        self._bus, self._synced, self._dead = bus, synced, dead

    async def store(self, text: str | bytes) -> BlobRef:
        return await self._bus.objects.put(text.encode() if isinstance(text, str) else text, "text/markdown")

    async def publish(self, event: Event) -> KbSynced:
        """Publish an event and wait for what it changed."""
        await self._bus.publish(event, Envelope.new(event, "test"))
        return KbSynced.model_validate_json((await self._synced.next_msg(TIMEOUT)).data)

    async def next_synced(self) -> KbSynced:
        return KbSynced.model_validate_json((await self._synced.next_msg(TIMEOUT)).data)

    async def publish_in_vain(self, event: Event) -> DeadLetter:
        """Publish an event that cannot be handled and wait for its dead letter."""
        await self._bus.publish(event, Envelope.new(event, "test"))
        return DeadLetter.model_validate_json((await self._dead.next_msg(TIMEOUT)).data)

    async def sync(self, *, delete: tuple[str, ...] = (), **texts: str | bytes) -> KbSync:
        upsert = [KbDocument(id=name, title=name, content=await self.store(text)) for name, text in texts.items()]
        return KbSync(collection="handbook", upsert=tuple(upsert), delete=delete)

    async def ready(self, text: str, media: str = "file:///talk.wav") -> DocReady:
        blob = await self.store(text)
        source = DocumentSource(title="Talk", media=Media(uri=media), transcript=blob)
        return DocReady(title="Talk", source=source, markdown=blob, docx=blob, transcript=blob, method="extractive")


@pytest.fixture
async def host(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    async with await Bus.connect(url) as bus:
        host = Host(CoreSettings(data_dir=path.parent), bus, [plugin])
        await host.start()
        yield host
        await host.stop()


@pytest.fixture
async def producer(host: Host) -> Producer:
    synced, dead = [await host.bus.nc.subscribe(subject) for subject in ("kb.synced", "dlq.>")]
    return Producer(host.bus, synced, dead)


async def test_a_finished_document_can_be_found(producer: Producer, path: Path) -> None:
    event = await producer.ready("# Talk\n\n## Cause\n\nThe disk was full [00:01:05](file:///talk.wav#t=65).")
    changed = await producer.publish(event)
    assert (changed.collection, changed.sink, changed.added, changed.chunks) == ("documents", "local", 1, 1)
    [hit] = search(path, "disk full", collection="documents")
    assert (hit.document, hit.title, hit.heading, hit.start) == ("file:///talk.wav", "Talk", "Cause", 65.0)
    assert hit.uri == event.source.media.uri


async def test_the_next_document_of_a_recording_takes_the_place_of_the_last(producer: Producer, path: Path) -> None:
    await producer.publish(await producer.ready("old whale"))
    changed = await producer.publish(await producer.ready("new giraffe"))
    assert (changed.updated, changed.chunks) == (1, 1)
    assert search(path, "whale") == [] and len(search(path, "giraffe")) == 1


async def test_the_same_document_again_changes_nothing(producer: Producer) -> None:
    event = await producer.ready("whale")
    assert (await producer.publish(event)).added == 1
    changed = await producer.publish(event)
    assert (changed.added, changed.updated, changed.unchanged) == (0, 0, 1)


async def test_a_trial_leaves_the_index_as_it_is(producer: Producer, host: Host, path: Path) -> None:
    await producer.publish(await producer.sync(a="alpha"))
    tried = await host.bus.nc.subscribe("shadow.trial.kb.synced")
    event = await producer.sync(b="beta", delete=("a",))
    await host.bus.publish(event, Envelope.new(event, "test"), headers={"stenobus-shadow": "trial"})
    changed = KbSynced.model_validate_json((await tried.next_msg(TIMEOUT)).data)
    assert (changed.added, changed.deleted, changed.chunks) == (0, 0, 1)
    assert (len(search(path, "alpha")), len(search(path, "beta"))) == (1, 0)


async def test_an_address_too_long_for_an_id_still_identifies(producer: Producer) -> None:
    media = f"file:///{'x' * 2000}.wav"
    assert (await producer.publish(await producer.ready("one", media))).added == 1
    assert (await producer.publish(await producer.ready("two", media))).updated == 1


async def test_a_collection_is_brought_up_to_date(producer: Producer, path: Path) -> None:
    await producer.publish(await producer.sync(a="alpha", b="beta", c="gamma"))
    changed = await producer.publish(await producer.sync(a="alpha", b="better", d="delta", delete=("c", "unknown")))
    assert changed.model_dump(exclude={"sink"}, exclude_defaults=True) == {
        "collection": "handbook",
        "added": 1,
        "updated": 1,
        "unchanged": 1,
        "deleted": 1,
        "chunks": 3,
    }
    assert search(path, "gamma") == []


async def test_whoever_waits_for_a_sync_finds_its_dataset_in_the_answer(producer: Producer) -> None:
    event = (await producer.sync(a="alpha")).model_copy(update={"source": "wordpress.event", "dataset": "v7"})
    changed = await producer.publish(event)
    assert (changed.source, changed.dataset, changed.added) == ("wordpress.event", "v7", 1)


async def test_a_document_both_wanted_and_unwanted_stays(producer: Producer, path: Path) -> None:
    changed = await producer.publish(await producer.sync(a="alpha", delete=("a",)))
    assert (changed.added, changed.deleted) == (1, 0)
    assert len(search(path, "alpha")) == 1


async def test_one_bad_document_does_not_stop_the_others(producer: Producer, path: Path) -> None:
    letter = await producer.publish_in_vain(await producer.sync(bad=b"\xff\xfe\x00binary", good="alpha"))
    assert letter.reason == "permanent" and letter.attempts == 1
    assert letter.message.startswith("1 of 2 documents are not indexed:") and "is no UTF-8 text" in letter.message
    assert len(search(path, "alpha")) == 1
    changed = await producer.next_synced()
    assert (changed.added, changed.failed, changed.unchanged) == (1, 1, 0) and "no UTF-8 text" in changed.problems[0]


async def test_a_document_whose_content_is_gone_is_named(producer: Producer) -> None:
    gone = BlobRef(uri="nats://stenobus/gone", sha256="0" * 64, size=1)
    event = KbSync(collection="handbook", upsert=(KbDocument(id="a", title="A", content=gone),))
    letter = await producer.publish_in_vain(event)
    assert "nats://stenobus/gone" in letter.message


async def test_a_damaged_index_stops_the_plugin_with_one_sentence(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    async with await Bus.connect(url) as bus:
        with pytest.raises(PluginError, match=r"plugin kb cannot start: The index .* is damaged"):
            await Host(CoreSettings(data_dir=path.parent), bus, [plugin]).start()


def test_doctor_counts_what_is_there(index: Any, put: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    put("a", "# One\n\nx\n\n# Two\n\ny")
    checks = {check.name: check for check in plugin.check()}
    assert checks["index"].detail == f"{path}: 1 documents, 2 chunks" and all(check.ok for check in checks.values())


def test_doctor_names_the_model_and_says_what_one_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    assert {check.name: check.detail for check in plugin.check()}["embedder"] == "stenobus/hashed-1"
    monkeypatch.setenv("STENOBUS_KB_EMBEDDER", "onnx")
    [check] = [check for check in plugin.check() if not check.ok]
    assert check.name == "embedder" and "STENOBUS_KB_EMBEDDING_MODEL" in check.detail


def test_doctor_is_content_before_the_first_document(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    assert all(check.ok for check in plugin.check())
    assert not path.exists()


def test_doctor_tells_a_damaged_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    assert [check.name for check in plugin.check() if not check.ok] == ["index"]


async def many(producer: Producer, *lines: bytes, **fields: Any) -> KbSync:
    return KbSync(collection="handbook", documents=await producer.store(b"\n".join(lines)), **fields)


async def line(producer: Producer, name: str, text: str, **facts: Any) -> bytes:
    return KbDocument(id=name, title=name, content=await producer.store(text), **facts).model_dump_json().encode()


async def test_documents_beside_the_event_are_indexed(producer: Producer, path: Path) -> None:
    lines = [await line(producer, f"d{number}", f"whale {number}") for number in range(150)]
    changed = await producer.publish(await many(producer, *lines, b"", delete=("d3",), source="web.event", dataset="1"))
    assert (changed.added, changed.chunks) == (150, 150)
    changed = await producer.publish(await many(producer, *lines, source="web.event", dataset="2"))
    assert (changed.added, changed.updated, changed.unchanged) == (0, 0, 150)
    [hit] = search(path, "whale 77", sources=("web.event",), limit=1)
    assert (hit.document, hit.source) == ("d77", "web.event")
    assert search(path, "whale", sources=("other",)) == []


async def test_of_two_lines_with_one_id_the_last_counts_and_the_event_itself_comes_last(
    producer: Producer, path: Path
) -> None:
    lines = [
        await line(producer, "a", "first"),
        await line(producer, "a", "second"),
        await line(producer, "b", "first"),
    ]
    event = KbDocument(id="b", title="b", content=await producer.store("third"))
    changed = await producer.publish(await many(producer, *lines, upsert=(event,)))
    assert changed.added == 2 and search(path, "first") == []
    assert [hit.document for hit in search(path, "second") + search(path, "third")] == ["a", "b"]


async def test_a_line_that_is_no_document_is_named_and_the_others_are_indexed(producer: Producer, path: Path) -> None:
    letter = await producer.publish_in_vain(
        await many(producer, await line(producer, "a", "whale"), b'{"id": "b"}', b"no json")
    )
    assert letter.message.startswith("2 of 3 documents are not indexed: Line 2 of nats://") and letter.attempts == 1
    assert "title: Field required" in letter.message and "Line 3" in letter.message
    assert len(search(path, "whale")) == 1


async def test_a_line_without_end_is_refused(producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_kb.incoming.MAX_LINE_BYTES", 1_000)
    letter = await producer.publish_in_vain(await many(producer, b"x" * 1_001))
    assert "longer than 1000 bytes" in letter.message


async def test_too_many_lines_are_refused_and_nothing_is_shown(
    producer: Producer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_kb.incoming.MAX_DOCUMENTS", 2)
    lines = [await line(producer, name, "whale") for name in "abc"]
    letter = await producer.publish_in_vain(await many(producer, *lines))
    assert "more than 2 lines" in letter.message and search(path, "whale") == []


async def test_a_blob_that_says_it_is_too_large_is_not_fetched(producer: Producer) -> None:
    gone = BlobRef(uri="nats://stenobus/gone", sha256="0" * 64, size=1 << 40)
    letter = await producer.publish_in_vain(KbSync(collection="handbook", documents=gone))
    assert "sync it in parts" in letter.message


async def test_documents_of_principals_are_for_them_alone(producer: Producer, path: Path) -> None:
    await producer.publish(await many(producer, await line(producer, "a", "whale", principals=("group:board",))))
    assert search(path, "whale", principals=("group:support",)) == []
    assert len(search(path, "whale", principals=("group:board",))) == 1


async def test_a_failure_in_the_middle_serves_the_old_versions(
    producer: Producer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await producer.publish(await producer.sync(a="old whale"))
    failing = iter([None, OSError("the disk is on fire"), None])
    stage = Index.stage

    def flaky(self: Index, *arguments: Any) -> None:
        if len(search(path, "old whale")) != 1 or search(path, "new"):
            raise AssertionError("readers must see the old version")
        if problem := next(failing, None):
            raise problem
        stage(self, *arguments)

    monkeypatch.setattr(Index, "stage", flaky)
    lines = [await line(producer, f"d{number}", f"new whale {number}") for number in range(100)]
    changed = await producer.publish(await many(producer, await line(producer, "a", "new whale"), *lines))
    assert (changed.added, changed.updated) == (100, 1)
    assert search(path, "old whale")[0].snippet.startswith("new")
