"""A real server for the whole session, and an empty bus for every test. The fixtures come from the kit in tests/kit."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import structlog

from stenobus_bus import advisories, budget, cell, dead_letters, ledger, shadow
from stenobus_bus import answers as bus_answers
from stenobus_bus.topology import Spec, domain, key_value, object_bucket
from stenobus_core import CoreSettings
from stenobus_testing import NatsServer

# An example may take as long as it takes: on a busy machine that says nothing about what is tested.
hypothesis.settings.register_profile(
    "patient", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="module", autouse=True)
def garbage() -> Iterator[None]:
    """It is looked for between modules, and never again in what stays: to look through everything takes a third of a
    session's time, and stops an event loop for so long that the server delivers anew."""
    gc.set_threshold(700, 10, 1_000_000)
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> None:
    """Some hundred processes of ours are started, and an environment that is made for images has each of them compile
    every module anew."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


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


@pytest.fixture(autouse=True)
def logs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands set up logging for their process, which is everybody's here: what they set ends with their test."""
    before, configure = structlog.get_config(), structlog.configure

    def uncached(**settings: Any) -> None:  # a logger that keeps its settings would carry them into other tests
        configure(**settings | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    configure(**before)


@pytest.fixture(scope="session")
def server(nats_server: NatsServer) -> NatsServer:
    """The session's nats-server."""
    return nats_server


@pytest.fixture
def settings(core_settings: CoreSettings) -> CoreSettings:
    """The host's settings, on the session's server."""
    return core_settings


@pytest.fixture
def bus_topology() -> list[Spec]:
    """The empty streams and buckets of the bus, and the domain test."""
    return [
        domain("test"),
        domain(dead_letters.STREAM.lower()),
        advisories.stream(),
        shadow.stream(),
        key_value(ledger.BUCKET),
        key_value(bus_answers.BUCKET),
        key_value(cell.BUCKET),
        key_value(budget.BUCKET, ttl=budget.TTL),
        object_bucket("stenobus"),
    ]
