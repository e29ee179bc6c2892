"""The pytest plugin: a real server for the session, an empty bus for every test, and options for both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import pytest_asyncio

# Whatever else is imported here would be so in every pytest run of this environment: before coverage begins, and for
# nothing where no test needs it.
if TYPE_CHECKING:
    from stenobus_bus import Bus
    from stenobus_bus.topology import Spec
    from stenobus_core import CoreSettings

    from .memory_store import MemoryStore
    from .servers import NatsServer
    from .stage import Stage


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the kit."""
    group = parser.getgroup("stenobus")
    group.addoption(
        "--nats",
        choices=("embedded", "container"),
        default="embedded",
        help="the NATS server of the tests: the embedded executable, or a container (testcontainers)",
    )
    group.addoption(
        "--nats-image",
        default=None,
        help="image of the container; also STENOBUS_TEST_NATS_IMAGE and the ini value nats_image",
    )
    group.addoption(
        "--write-schemas",
        action="store_true",
        help="write the JSON Schemas that conformance tests compare contracts with, where there are none yet",
    )
    parser.addini("nats_image", "image of the NATS container of the tests")


def pytest_configure(config: pytest.Config) -> None:
    """Our marker."""
    config.addinivalue_line(
        "markers", "embedded_nats(reason): needs the embedded server; skipped with --nats=container for that reason"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a container cannot do."""
    if config.getoption("--nats") == "embedded":
        return
    for item in items:
        if (mark := item.get_closest_marker("embedded_nats")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"embedded server only: {mark.args[0]}"))


@pytest.fixture(scope="session")
def nats_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server with JetStream for the whole session, on a port of its own: embedded, or with
    ``--nats=container`` in a container."""
    if request.config.getoption("--nats") == "container":
        yield request.getfixturevalue("nats_container")
        return
    from .servers import EmbeddedNats

    server = EmbeddedNats(tmp_path_factory.mktemp("nats"))
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def nats_container(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    """A NATS server in a container. Without a container engine the test is skipped; with ``CI=true`` it fails."""
    from .servers import IMAGE, ContainerNats

    config = request.config
    image = (
        config.getoption("--nats-image")
        or os.environ.get("STENOBUS_TEST_NATS_IMAGE")
        or config.getini("nats_image")
        or IMAGE
    )
    server = ContainerNats(image)
    try:
        asyncio.run(server.start())
    except RuntimeError as error:
        missing(str(error))
    yield server
    asyncio.run(server.stop())


@pytest.fixture
def bus_topology() -> list[Spec]:
    """The streams and buckets that :func:`bus` declares: those of all known contracts, and the host's."""
    from stenobus_core.services import topology

    return topology("stenobus")


@pytest_asyncio.fixture
async def bus(nats_server: NatsServer, bus_topology: list[Spec]) -> AsyncIterator[Bus]:
    """A connection to a server that holds nothing but empty streams and buckets."""
    from stenobus_bus import Bus, apply

    from .servers import empty

    async with await Bus.connect(nats_server.url, name="test") as bus:
        await empty(bus)
        await apply(bus, bus_topology)
        yield bus


@pytest.fixture
def core_settings(nats_server: NatsServer, tmp_path: Path) -> CoreSettings:
    """The host's settings on the session's server: a silent handler's event is delivered again after two seconds, and
    a busy machine may let a process stand for one of them."""
    from stenobus_core import CoreSettings

    return CoreSettings(nats_url=nats_server.url, data_dir=tmp_path / "data", ack_wait=2, grace=0)


@pytest_asyncio.fixture
async def stage(bus: Bus, core_settings: CoreSettings) -> AsyncIterator[Stage]:
    """Runs plugins on the bus, and waits until they are idle."""
    from .stage import stage

    async with stage(bus, core_settings) as opened:
        yield opened


@pytest.fixture
def memory_store(core_settings: CoreSettings) -> MemoryStore:
    """The store of hosts that run with ``blob_store="memory"``: it can lose, damage, refuse and keep waiting."""
    from .memory_store import MemoryStore

    return MemoryStore.of(core_settings)


def missing(what: str) -> NoReturn:
    """Something that the test needs is not here: a laptop may lack it, the machine that decides may not."""
    if os.environ.get("CI"):
        raise pytest.fail.Exception(f"{what} (with CI set, nothing may be missing)", pytrace=False) from None
    raise pytest.skip.Exception(what) from None
