"""The API over an index of a few documents."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stenobus_kb.api.app import create
from stenobus_kb.api.callers import Door, Tokens
from stenobus_kb.api.keys import Keys
from stenobus_kb.api.reading import Reading
from stenobus_kb.search import Searcher

from ..conftest import Put, index, path, put  # noqa: F401 -- fixtures

SECRET = "a secret of more than thirty-two characters"
TALK = "# Talk\n\n## Cause\n\nThe disk was full, because log rotation was off [00:01:05](file:///talk.wav#t=65).\n"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "kb-keys.json")


@pytest.fixture
def filled(put: Put) -> None:  # noqa: F811
    put("talk", TALK, title="Full disk", uri="file:///talk.wav", metadata={"year": 2026, "tags": ["disk", "logs"]})
    put("plan", "The disk plan of the board.", title="Plan", principals=("group:board",))
    put("menu", "A disk of chocolate.", title="Menu", collection="kitchen", uri="https://kitchen/menu#top")
    put("a/b?c", "The disk with an odd name.", title="Odd", collection="kitchen")


@pytest.fixture
async def client(path: Path, keys: Keys, filled: None) -> AsyncIterator[httpx2.AsyncClient]:  # noqa: F811
    reading = Reading(path, lambda: Searcher(path))
    app = create(reading, Door(keys, Tokens(SECRET, "stenobus", "https://issuer", per_minute=600)))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://kb") as opened:
        yield opened
    reading.close()


Get = Callable[..., Any]


@pytest.fixture
def get(client: httpx2.AsyncClient, keys: Keys) -> Get:
    """Asks with a key of its own; ``owner`` sees everything."""

    async def get(
        address: str,
        collections: tuple[str, ...] | None = None,
        principals: tuple[str, ...] | None = (),
        **parameters: Any,
    ) -> httpx2.Response:
        key = keys.add("test", collections, principals, 1000)
        return await client.get(address, params=parameters, headers={"Authorization": f"Bearer {key}"})

    return get


class Stuck:
    """Readings that wait until they are let go."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.waiting = 0

    def __call__(self) -> None:
        self.waiting += 1
        self.released.wait(30)
