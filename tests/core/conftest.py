"""Plugins on a real bus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stenobus_bus import EmbeddedServer
from stenobus_contracts import registry

from ..support.command import Command, installed
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
    with installed("acme", ACME, server, site, monkeypatch, tmp_path):
        yield Command()
