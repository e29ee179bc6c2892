"""The rules that every plugin keeps, for each sink: processes that are killed, stopped and started among them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stenobus_contracts import KbDocument, KbSync
from stenobus_sinks.sinks import bedrock as bedrock_sink
from stenobus_sinks.sinks import opensearch as opensearch_sink
from stenobus_sinks.sinks import pinecone as pinecone_sink
from stenobus_testing import conformance
from stenobus_testing.stage import Stage

from .fakes.bedrock import FakeBedrock
from .fakes.opensearch import FakeOpenSearch
from .fakes.pinecone import FakePinecone


@pytest.fixture(autouse=True)
def places(bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place for each of them."""
    opensearch, pinecone = FakeOpenSearch(("sync", "open-sesame")), FakePinecone("pcsk_1")
    for name, value in {
        "STENOBUS_KB_OPENSEARCH_URL": opensearch.url,
        "STENOBUS_KB_OPENSEARCH_USERNAME": "sync",
        "STENOBUS_KB_OPENSEARCH_PASSWORD": "open-sesame",
        "STENOBUS_KB_PINECONE_HOST": pinecone.url,
        "STENOBUS_KB_PINECONE_POLL": "0.02",
        "PINECONE_API_KEY": "pcsk_1",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    opensearch.close()
    pinecone.close()
    assert opensearch.complaints == pinecone.complaints == []


async def example(stage: Stage) -> KbSync:
    blob = await stage.put(b"# Full disk\n\nRemove the log.", "text/markdown")
    document = KbDocument(id="disk", title="Full disk", content=blob, metadata={"city": "Santiago"})
    return KbSync(collection="handbook", upsert=(document,), delete=("gone",))


TestBedrock = conformance(bedrock_sink.plugin, examples=[example])
TestOpenSearch = conformance(opensearch_sink.plugin, examples=[example])
TestPinecone = conformance(pinecone_sink.plugin, examples=[example])
