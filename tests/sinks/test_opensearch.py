"""The OpenSearch sink: the contract of all sinks, and what is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stenobus_core import PermanentError, RetryableError
from stenobus_sinks.opensearch_command import opensearch
from stenobus_sinks.sinks.opensearch import Settings, doctor
from stenobus_sinks.sinks.opensearch.sink import OpenSearchSink

from ..support import aws
from .contract import SinkContract
from .desk import Desk
from .fakes.embeddings import FakeEmbeddings
from .fakes.http import Reply
from .fakes.opensearch import FakeOpenSearch

USER = ("sync", "open-sesame-and-more")
KEY = "sk-embeddings-that-nobody-may-see"


class Place:
    step = 1
    refused = ("This is unmappable.", "failed to parse field [passages.text]")

    def __init__(self, fake: FakeOpenSearch, embeddings: FakeEmbeddings, **settings: Any) -> None:
        self.fake, self.embeddings = fake, embeddings
        own = {"url": fake.url, "username": USER[0], "password": USER[1], "poll": 0.01, "patience": 60.0}
        self.settings: dict[str, Any] = {**own, **settings}
        self.servers = [fake.server, embeddings.server]
        self.secrets = [USER[1], KEY]
        self._sinks: list[OpenSearchSink] = []

    def opened(self) -> OpenSearchSink:
        sink = OpenSearchSink(Settings.load("kb-opensearch", **self.settings))
        self._sinks.append(sink)
        return sink

    async def close(self) -> None:
        for sink in self._sinks:
            await sink.close()

    def clear(self) -> None:
        self.fake.indexes.clear()
        self.fake.aliases.clear()

    def texts(self, collection: str) -> dict[str, str]:
        found = {}
        for name in self.fake.aliases.get(f"kb-{collection}", ()):
            for _, source in self.fake.indexes[name].visible.values():
                if not source["deleted"]:
                    found[source["document"]] = "\n\n".join(passage["text"] for passage in source["passages"])
        return found

    def writes(self) -> int:
        asking = {"GET", "POST _mget", "POST _search", "POST scroll", "DELETE scroll"}
        return self.embeddings.texts + sum(
            count for name, count in self.fake.calls.items() if not {name, name.partition(" ")[0]} & asking
        )

    def busy(self, times: int) -> None:
        self.fake.busy_items = times


@pytest.fixture
def fake() -> Iterator[FakeOpenSearch]:
    fake = FakeOpenSearch(USER)
    yield fake
    fake.close()
    assert fake.complaints == []


@pytest.fixture
def embeddings() -> Iterator[FakeEmbeddings]:
    fake = FakeEmbeddings(KEY)
    yield fake
    fake.close()


@pytest.fixture
def place(fake: FakeOpenSearch, embeddings: FakeEmbeddings) -> Place:
    return Place(fake, embeddings)


def with_vectors(place: Place, model: str = "small") -> Place:
    place.settings.update(
        vectors="endpoint", dimension=8, embeddings_url=place.embeddings.url, embeddings_model=model, embeddings_key=KEY
    )
    return place


class TestWords(SinkContract):
    """Words alone."""


class TestEndpoint(SinkContract):
    """Vectors from an embeddings server."""

    @pytest.fixture
    def place(self, fake: FakeOpenSearch, embeddings: FakeEmbeddings) -> Place:
        return with_vectors(Place(fake, embeddings))


class TestPipeline(SinkContract):
    """Vectors that the cluster makes."""

    @pytest.fixture
    def place(self, fake: FakeOpenSearch, embeddings: FakeEmbeddings) -> Place:
        fake.ingest_pipelines["embed"] = 4
        return Place(fake, embeddings, vectors="pipeline", pipeline="embed", dimension=4)


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    yield Desk(place.opened)
    await place.close()


async def test_another_model_is_built_beside_the_index_that_serves(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(**{f"d{n}": f"Number {n}." for n in range(250)}), 1)
    await desk.sync(desk.event(delete=("d7",)), 9)
    (old,) = place.fake.indexes
    with_vectors(place)
    assert (await desk.sync(desk.event(new="The whale."), 10)).added == 1
    (new,) = place.fake.indexes
    assert new != old and list(place.fake.aliases["kb-handbook"]) == [new]
    assert len(place.texts("handbook")) == 250  # 249 and the new one
    assert all(
        len(p["vector"]) == 8 for _, s in place.fake.indexes[new].documents.values() for p in s.get("passages", ())
    )
    await desk.sync(desk.event(d7="late"), 8)  # the removal is remembered across the flip
    assert "d7" not in place.texts("handbook")
    done = await desk.sync(desk.event(d8="Number 8."), 11)
    assert done.unchanged == 1


async def test_a_flip_that_breaks_off_serves_the_old_index(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale.", b="The giraffe."), 1)
    (old,) = place.fake.indexes
    with_vectors(place)
    place.embeddings.server.before = lambda request: Reply(500, b"{}")
    error, _ = await desk.fails(desk.event(c="The lion."), 2)
    assert isinstance(error, RetryableError)
    assert list(place.fake.aliases["kb-handbook"]) == [old]
    assert place.texts("handbook") == {"a": "The whale.", "b": "The giraffe."}
    place.embeddings.server.before = lambda request: None
    await desk.sync(desk.event(c="The lion."), 2)
    assert len(place.fake.indexes) == 1 and place.texts("handbook").keys() == {"a", "b", "c"}


async def test_two_processes_flip_once(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale.", b="The giraffe."), 1)
    with_vectors(place)
    await asyncio.gather(desk.sync(desk.event(c="The lion."), 2), desk.sync(desk.event(d="The seal."), 3))
    assert len(place.fake.indexes) == 1 and place.texts("handbook").keys() == {"a", "b", "c", "d"}


async def test_long_bulks_are_cut_by_bytes(place: Place, desk: Desk) -> None:
    place.settings["bulk_bytes"] = 10_000
    await desk.sync(desk.event(**{f"d{n}": "word " * 500 for n in range(12)}), 1)
    sizes = [len(request.body) for request in place.fake.server.requests if request.path.endswith("_bulk")]
    assert len(sizes) >= 3 and max(sizes) < 15_000


async def test_items_that_find_no_room_are_sent_again_alone(place: Place, desk: Desk) -> None:
    place.fake.busy_items = 2
    await desk.sync(desk.event(a="1", b="2", c="3"), 1)
    bulks = [request.body.count(b"\n") // 2 for request in place.fake.server.requests if request.path.endswith("_bulk")]
    assert bulks == [3, 2]


async def test_a_cluster_without_room_is_given_up_in_the_end(place: Place, desk: Desk) -> None:
    place.settings["patience"] = 0.03
    place.fake.busy_items = 1000
    error, _ = await desk.fails(desk.event(a="1"), 1)
    assert isinstance(error, RetryableError) and "no room for 1 documents" in str(error)


@pytest.mark.parametrize(
    ("version", "pipeline"), [("2.19.1", "kb-rrf"), ("3.1.0", "kb-rrf"), ("2.11.0", "kb-normalization")]
)
async def test_words_and_vectors_find_with_filters_inside(
    place: Place, desk: Desk, version: str, pipeline: str
) -> None:
    place.fake.version = version
    with_vectors(place)
    documents = (
        desk.document("a", "The whale swims.", metadata={"city": "Santiago"}),
        desk.document("b", "The whale sings.", metadata={"city": "Lima"}),
        desk.document("c", "The whale sleeps.", metadata={"city": "Santiago"}, principals=("group:keepers",)),
    )
    await desk.sync(desk.event().model_copy(update={"upsert": documents}), 1)
    sink = place.opened()
    found = await sink.search("handbook", "whale", filters={"city": "Santiago"}, principals=[])
    assert [hit.id for hit in found] == ["a"] and found[0].text == "The whale swims."
    found = await sink.search("handbook", "whale", filters={"city": "Santiago"}, principals=["group:keepers"])
    assert {hit.id for hit in found} == {"a", "c"}
    asked = place.fake.searched[-1]
    assert asked["params"]["search_pipeline"] == pipeline
    near = asked["query"]["hybrid"]["queries"][1]["nested"]["query"]["knn"]["passages.vector"]
    assert {"term": {"metadata.city": "Santiago"}} in near["filter"]["bool"]["filter"]


def asked(place: Place, *arguments: str) -> Result:
    environment = {f"STENOBUS_KB_OPENSEARCH_{name.upper()}": str(value) for name, value in place.settings.items()}
    return CliRunner().invoke(opensearch, [*arguments, "--collection", "handbook"], env=environment)


async def test_people_find_what_the_cluster_holds(place: Place, desk: Desk) -> None:
    with_vectors(place)
    documents = (
        desk.document("a", "The whale \x1b[31mswims.", metadata={"city": "Santiago"}),
        desk.document("b", "The whale sings.", metadata={"city": "Lima"}),
        desk.document("c", "The whale sleeps.", metadata={"city": "Santiago"}, principals=("group:keepers",)),
    )
    await desk.sync(desk.event().model_copy(update={"upsert": documents}), 1)

    def found(*arguments: str) -> set[str]:
        result = asked(place, "the", "whale", "--json", *arguments)
        return {hit["id"] for hit in json.loads(result.stdout)["results"]}

    def look() -> None:
        assert found() == {"a", "b", "c"}
        assert found("--where", "city=Santiago", "--as", "group:other") == {"a"}
        assert found("--where", "city=Santiago", "--as", "group:keepers") == {"a", "c"}
        assert len(found("--limit", "1")) == 1
        shown = asked(place, "whale", "--where", "city=Santiago", "--as", "x")
        assert "The whale [31mswims." in shown.stdout and shown.exit_code == 0
        assert asked(place, "whale", "--where", "city").exit_code == 2
        nothing = asked(place, "whale", "--where", "city=Arica")
        assert (nothing.exit_code, nothing.stdout) == (1, "") and "Nothing in the collection handbook" in nothing.stderr

    await asyncio.to_thread(look)


async def test_what_keeps_people_from_searching_is_one_sentence(place: Place) -> None:
    def said() -> str:
        result = asked(place, "whale")
        assert result.exit_code == 1 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
        return result.stderr

    assert "handbook" in await asyncio.to_thread(said)  # there is no such index
    place.settings["password"] = "another-one"
    assert "refuses the credentials" in await asyncio.to_thread(said)
    place.settings["url"] = ""
    assert "STENOBUS_KB_OPENSEARCH_URL" in await asyncio.to_thread(said)


async def test_words_alone_find_what_is_there(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale swims.", b="The lion."), 1)
    await desk.sync(desk.event(delete=("b",)), 2)
    sink = place.opened()
    assert [hit.id for hit in await sink.search("handbook", "whale")] == ["a"]
    assert await sink.search("handbook", "lion") == []


async def test_requests_are_signed_for_a_domain_on_aws(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.enter(monkeypatch, "http://127.0.0.1:9")
    known = aws.environment("")
    fake = FakeOpenSearch(None, (known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"]))
    place = Place(fake, place.embeddings, aws=True, username=None, password=None)
    desk = Desk(place.opened)
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    error, _ = await desk.fails(desk.event(b="The lion."), 2)
    assert isinstance(error, PermanentError) and "may not do this" in str(error)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(PermanentError, match="no usable AWS credentials"):
        place.opened()
    fake.close()


async def test_wrong_credentials_are_explained(place: Place, desk: Desk) -> None:
    place.settings["password"] = "wrong"
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and "refuses the credentials" in str(error)
    place.settings["password"] = None
    with pytest.raises(PermanentError, match="no password for the OpenSearch user sync"):
        place.opened()


async def test_the_key_of_the_embeddings_server_comes_from_a_file(place: Place, desk: Desk, tmp_path: Path) -> None:
    with_vectors(place)
    (tmp_path / "key").write_text(f"{KEY}\n")
    place.settings.update(embeddings_key=None, embeddings_key_file=tmp_path / "key")
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
    place.settings["dimension"] = 9
    error, _ = await desk.fails(desk.event(b="The lion."), 2)
    assert isinstance(error, PermanentError) and "vectors of 8 numbers" in str(error)


def test_the_doctor_asks_the_cluster(place: Place) -> None:
    settings = Settings.load("kb-opensearch", **place.settings)
    (found,) = doctor(settings)
    assert found.ok and "OpenSearch 2.19.1" in found.detail
    missing = settings.model_copy(update={"vectors": "pipeline", "pipeline": "none"})
    assert not doctor(missing)[-1].ok
    place.fake.close()
    (found,) = doctor(settings)
    assert not found.ok and "cannot be reached" in found.detail


async def test_what_another_process_writes_during_a_flip_is_not_lost(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale."), 1)
    (old,) = place.fake.indexes
    ((_, source),) = place.fake.indexes[old].documents.values()

    def write(request: Any) -> None:
        if request.path == "/_aliases":
            place.fake.indexes[old].documents["late"] = (7, {**source, "document": "late"})

    with_vectors(place)
    place.fake.server.before = write
    await desk.sync(desk.event(b="The lion."), 2)
    (new,) = place.fake.indexes
    assert new != old and {source["document"] for _, source in place.fake.indexes[new].documents.values()} == {
        "a", "b", "late",
    }  # fmt: skip
