"""Plugins on a real bus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from stenobus_bus import Bus, EmbeddedServer
from stenobus_contracts import registry
from stenobus_testing.servers import empty

from ..support.command import Command
from ..support.installed import ACME, Site


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings."""
    for name in [name for name in os.environ if name.startswith("STENOBUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Distributions for this test only; their contracts go with them."""
    known = dict(registry._types)
    yield Site(tmp_path / "site", monkeypatch)
    registry._types.clear()
    registry._types.update(known)


@pytest.fixture
def stenobus(server: EmbeddedServer, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    async def prepare() -> None:
        async with await Bus.connect(server.url) as bus:
            await empty(bus)

    asyncio.run(prepare())
    site.install("acme", ACME)
    monkeypatch.setenv("STENOBUS_NATS_URL", server.url)
    monkeypatch.setenv("STENOBUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STENOBUS_PLUGINS", "acme")
    logs = structlog.get_config()
    yield Command()
    structlog.configure(**logs)
