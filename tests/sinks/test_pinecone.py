"""The Pinecone sink: the contract of all sinks, and what is its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from pinecone._internal import http_client

from stenobus_core import PermanentError, RetryableError
from stenobus_sinks.port import Sink
from stenobus_sinks.sinks.pinecone import Settings, doctor
from stenobus_sinks.sinks.pinecone.sink import PineconeSink

from ..support import aws
from .contract import LONG, SinkContract
from .desk import Desk
from .fakes.embeddings import FakeEmbeddings
from .fakes.gate import S3Gate
from .fakes.pinecone import FakePinecone

KEY, EMBEDDINGS_KEY = "pcsk_that-nobody-may-see", "sk-that-nobody-may-see"


class Place:
    step = 3
    refused = ("This is unspeakable.", "unspeakable is not said here")

    def __init__(self, fake: FakePinecone, embeddings: FakeEmbeddings, **settings: Any) -> None:
        self.fake, self.embeddings = fake, embeddings
        self.settings: dict[str, Any] = {
            "host": fake.url, "api_key": KEY, "poll": 0.01, "patience": 60.0, "timeout": 60.0, **settings,
        }  # fmt: skip
        if fake.model is None:
            own = {"embeddings_url": embeddings.url, "embeddings_model": "small", "embeddings_key": EMBEDDINGS_KEY}
            self.settings.update(vectors="endpoint", **own)
        self.servers = [fake.server, embeddings.server]
        self.secrets = [KEY, EMBEDDINGS_KEY]
        self._sinks: list[Sink] = []

    def opened(self) -> Sink:
        sink = PineconeSink(Settings.load("kb-pinecone", **self.settings))
        self._sinks.append(sink)
        return sink

    async def close(self) -> None:
        for sink in self._sinks:
            await sink.close()

    def clear(self) -> None:
        self.fake.settle()
        self.fake.spaces.clear()

    def texts(self, collection: str) -> dict[str, str]:
        found: dict[str, list[tuple[str, int, str]]] = {}
        for about in self.fake.spaces.get(collection, {}).values():
            passage = about["generation"], about["chunk"], about[self.fake.model or "text"]
            found.setdefault(about["document"], []).append(passage)
        return {name: "\n\n".join(text for _, _, text in sorted(parts)) for name, parts in found.items()}

    def writes(self) -> int:
        asking = {"/query", "/vectors/fetch", "/describe_index_stats"}
        return self.embeddings.texts + sum(n for path, n in self.fake.calls.items() if path not in asking)

    def busy(self, times: int) -> None:
        self.fake.busy = 4 * times  # the SDK itself tries four times


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's pauses between its own tries are its own business."""
    monkeypatch.setattr(http_client, "_retry_sleep", lambda seconds: None)


@pytest.fixture
def fake() -> Iterator[FakePinecone]:
    fake = FakePinecone(KEY)
    yield fake
    fake.close()
    assert fake.complaints == []


@pytest.fixture
def embeddings() -> Iterator[FakeEmbeddings]:
    fake = FakeEmbeddings(EMBEDDINGS_KEY)
    yield fake
    fake.close()


@pytest.fixture
def place(fake: FakePinecone, embeddings: FakeEmbeddings) -> Place:
    return Place(fake, embeddings)


class TestIntegrated(SinkContract):
    """The index makes vectors itself."""

    versions_overlap = True


class TestLate(SinkContract):
    """Reads come behind writes."""

    versions_overlap = True

    @pytest.fixture
    def place(self, fake: FakePinecone, embeddings: FakeEmbeddings) -> Place:
        fake.lags = True
        return Place(fake, embeddings)


class TestEndpoint(SinkContract):
    """Vectors from an embeddings server."""

    versions_overlap = True

    @pytest.fixture
    def place(self, fake: FakePinecone, embeddings: FakeEmbeddings) -> Place:
        fake.model = None
        return Place(fake, embeddings)


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    yield Desk(place.opened)
    await place.close()


async def test_ids_name_collection_document_generation_and_chunk(place: Place, desk: Desk) -> None:
    documents = (desk.document("a#ñ", LONG.format("lion")), desk.document("x" * 500, "Long id."))
    await desk.sync(desk.event().model_copy(update={"upsert": documents}), 255)
    ids = sorted(place.fake.spaces["handbook"])
    first = [id.split("#") for id in ids if "%23" in id]
    assert [(c, d, int(n)) for c, d, _, n in first] == [("handbook", "a%23%C3%B1", n) for n in range(4)]
    assert {generation.partition(".")[0] for _, _, generation, _ in first} == {"ff"}
    assert all(len(id) < 512 for id in ids)


async def test_it_is_done_once_searches_see_it(place: Place, desk: Desk) -> None:
    place.fake.lags = True
    await desk.sync(desk.event(a="The whale.", b="The lion."), 1)
    assert place.texts("handbook").keys() == {"a", "b"} and place.fake.seen == place.fake.lsn
    await desk.sync(desk.event(a="The walrus.", delete=("b",)), 2)
    assert place.texts("handbook") == {"a": "The walrus."} and place.fake.seen == place.fake.lsn


async def test_without_log_places_the_last_record_itself_is_looked_for(place: Place, desk: Desk) -> None:
    place.fake.lags, place.fake.tells_lsn = True, False
    await desk.sync(desk.event(a="The whale.", b="The lion."), 1)
    assert place.texts("handbook").keys() == {"a", "b"}


async def test_what_is_never_seen_is_tried_again(place: Place, desk: Desk) -> None:
    place.settings["patience"] = 0.05
    place.fake.lags = True
    place.fake._see = lambda count: None  # type: ignore[method-assign]
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, RetryableError) and "records cannot be seen after" in str(error)


async def test_batches_are_cut_by_bytes_and_by_number(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(**{f"d{n}": "word" for n in range(200)}), 1)
    upserts = [
        request for request in place.fake.server.requests if request.path == "/records/namespaces/handbook/upsert"
    ]
    assert [request.body.count(b"\n") for request in upserts] == [96, 96, 8]
    wide = {"essay": "x" * 38_000}
    documents = tuple(desk.document(f"w{n}", "word", metadata=wide) for n in range(90))
    await desk.sync(desk.event().model_copy(update={"upsert": documents}), 2)
    assert len(place.texts("handbook")) == 290  # the fake refuses more than 2 MB


async def test_metadata_that_pinecone_would_not_take_is_told_by_name(place: Place, desk: Desk) -> None:
    bad = desk.document("bad", "text", metadata={"essay": "x" * 41_000})
    event = desk.event(a="The whale.")
    error, told = await desk.fails(event.model_copy(update={"upsert": (*event.upsert, bad)}), 1)
    assert "bad: its metadata has 41" in str(error) and told is not None and told.added == 1


async def test_a_refused_version_leaves_the_one_before(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a=LONG.format("old"), b="The lion."), 1)
    error, told = await desk.fails(desk.event(a=LONG.format("new") + "\n\n## unspeakable", b="The seal."), 2)
    assert isinstance(error, PermanentError) and told is not None and (told.updated, told.failed) == (1, 1)
    found = place.texts("handbook")
    assert found["a"].count("old says") == 4 and "new" not in found["a"] and found["b"] == "The seal."


async def test_a_missing_or_wrong_key_is_explained(place: Place, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    place.settings["api_key"] = "wrong"
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and "refuses the API key" in str(error)
    del place.settings["api_key"]
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    with pytest.raises(PermanentError, match="There is no API key for Pinecone: set PINECONE_API_KEY"):
        place.opened()
    monkeypatch.setenv("PINECONE_API_KEY", KEY)
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1


async def test_the_key_comes_from_a_file(place: Place, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    place.settings.update(api_key=None, api_key_file=tmp_path / "key")
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
    place.settings["api_key"] = KEY
    with pytest.raises(PermanentError, match="Set one of"):
        place.opened()
    place.settings.update(api_key=None, api_key_file=tmp_path / "none")
    with pytest.raises(PermanentError, match="cannot be read: No such file"):
        place.opened()


async def test_the_key_comes_from_aws_secrets_manager(place: Place, desk: Desk, account: S3Gate) -> None:
    secrets = boto3.client("secretsmanager", region_name=aws.REGION)
    secrets.create_secret(Name=f"kb-{id(place)}", SecretString=json.dumps({"pinecone": KEY, "other": "x"}))
    place.settings.update(api_key=None, api_key_secret=f"kb-{id(place)}#pinecone")
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
    for name, sentence in ((f"kb-{id(place)}#none", "with the key none"), ("no-such", "there is no such secret")):
        place.settings["api_key_secret"] = name
        with pytest.raises(PermanentError, match=sentence) as caught:
            place.opened()
        assert KEY not in str(caught.value)


def test_the_doctor_asks_the_index(place: Place) -> None:
    settings = Settings.load("kb-pinecone", **place.settings)
    (found,) = doctor(settings)
    assert found.ok and "8 dimensions" in found.detail and KEY not in found.detail
    place.fake.key = "another"
    (found,) = doctor(settings)
    assert not found.ok and "refuses the API key" in found.detail


async def test_marks_are_written_once_the_old_version_cannot_be_seen(place: Place, desk: Desk) -> None:
    place.fake.lags = True
    await desk.sync(desk.event(a="The whale.", b="The lion."), 1)
    found: list[dict[str, str]] = []

    def look(request: Any) -> None:
        if request.path == "/records/namespaces/handbook.marks/upsert":
            found.append(place.texts("handbook"))

    place.fake.server.before = look
    await desk.sync(desk.event(a="The walrus.", delete=("b",)), 2)
    assert found == [{"a": "The walrus."}]
