"""A real server for the whole session, and an empty bus for every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from stenobus_bus import Bus, EmbeddedServer, apply, dead_letters, ledger
from stenobus_bus import answers as bus_answers
from stenobus_bus.topology import domain, key_value, object_bucket
from stenobus_core import CoreSettings


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """One line per log entry: pytest shows them when a test fails."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ]
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A nats-server on a port of its own."""
    server = EmbeddedServer(tmp_path_factory.mktemp("nats"), port=0)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


async def empty(bus: Bus) -> None:
    """Remove every stream and bucket."""
    for name in (await bus.api("STREAM.NAMES"))["streams"] or ():
        await bus.api(f"STREAM.DELETE.{name}")


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[Bus]:
    """A connection to a server that holds nothing but the empty streams and buckets of the bus, and the domain test."""
    async with await Bus.connect(server.url, name="test") as bus:
        await empty(bus)
        await apply(
            bus,
            [
                domain("test"),
                domain(dead_letters.STREAM.lower()),
                key_value(ledger.BUCKET),
                key_value(bus_answers.BUCKET),
                object_bucket("stenobus"),
            ],
        )
        yield bus


@pytest.fixture
def settings(server: EmbeddedServer, tmp_path: Path) -> CoreSettings:
    """The host's settings, on the session's server."""
    return CoreSettings(nats_url=server.url, data_dir=tmp_path / "data", ack_wait=1, grace=0)
