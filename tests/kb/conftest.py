"""Documents and indexes for the tests of the knowledge base."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import EmbeddedServer
from stenobus_contracts import BlobRef, KbDocument
from stenobus_kb.chunk import chunks
from stenobus_kb.index import Index, Outcome
from stenobus_kb.search import Hit, Query
from stenobus_kb.search import search as find

Put = Callable[..., Outcome]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "kb.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    index = Index(path)
    yield index
    index.close()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A server of one's own: what an earlier test did not wait for is not answered in this one."""
    server = EmbeddedServer(tmp_path / "nats", port=0)
    yield await server.start()
    await server.stop()


def search(path: Path, text: str, *, collection: str | None = None, **restrictions: Any) -> list[Hit]:
    """The hits of a query."""
    if collection:
        restrictions["collections"] = (collection,)
    return list(find(path, Query(text, **restrictions)).hits)


def document(name: str, text: str, *, title: str | None = None, **facts: Any) -> KbDocument:
    content = BlobRef(
        uri=f"file:///{name}.md", sha256=hashlib.sha256(text.encode()).hexdigest(), size=len(text.encode())
    )
    return KbDocument(id=name, title=name if title is None else title, content=content, **facts)


@pytest.fixture
def put(index: Index) -> Put:
    """Index a Markdown text under a name."""

    def put(name: str, text: str, *, collection: str = "documents", **facts: Any) -> Outcome:
        wanted = document(name, text, **facts)
        return index.put(collection, wanted, chunks(text, wanted.title))

    return put
