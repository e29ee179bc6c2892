"""A site, and the plugin beside the knowledge base on a real bus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import stenobus_kb.service
import stenobus_sources.service
from stenobus_bus.topology import Spec
from stenobus_core.cli import cli
from stenobus_core.services import topology
from stenobus_sources import lease
from stenobus_sources.events import SourceDone, SourceDue
from stenobus_testing import Stage

from .site import Site

SOURCES = stenobus_sources.service.plugin
KB = stenobus_kb.service.plugin


@pytest.fixture
def bus_topology() -> list[Spec]:
    return topology("stenobus")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


class Setup:
    """The settings, as they stand in the environment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.output = folder / "out"
        monkeypatch.setenv("STENOBUS_DATA_DIR", str(folder / "data"))
        monkeypatch.setenv("STENOBUS_KB_PATH", str(folder / "kb.sqlite"))
        (folder / "stenobus.toml").touch()
        monkeypatch.setenv("STENOBUS_CONFIG", str(folder / "stenobus.toml"))
        self(output=str(self.output))

    def __call__(self, **settings: Any) -> None:
        for name, value in settings.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self._monkeypatch.setenv(f"STENOBUS_SOURCES_{name.upper()}", text)

    def wordpress(self, site: Site, *types: dict[str, Any], **more: Any) -> None:
        """A site called ``agenda``, with its events in the collection ``eventos``."""
        kinds = types or ({"type": "event", "collection": "eventos", "kind": "event"},)
        self(wordpress=[{"name": "agenda", "url": site.url, "types": kinds, "rate": 100, **more}])

    def tables(self, folder: str) -> list[Path]:
        return sorted((self.output / folder).glob("*.csv"))

    def datasets(self) -> list[Path]:
        return sorted((self.output / "datasets").glob("*/*/*"))


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(lease, "LOOK", 0.05)
    return Setup(tmp_path, monkeypatch)


class Runs:
    """Runs of the plugin, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._started = False

    async def __call__(self, reads: Any = "changes", *sources: str, within: float = 30.0) -> Any:
        """Let a run begin and end; returns what happened."""
        if not self._started:
            await self.stage.run(SOURCES, KB)
            self._started = True
        await self.stage.publish(SourceDue(reads=reads, sources=sources))
        return await self.stage.run_until_idle(within)

    async def done(self, reads: Any = "changes", *sources: str) -> SourceDone:
        """The end of a run of one source."""
        outcome = await self(reads, *sources)
        assert [entry.letter.message for entry in outcome.letters] == []
        [done] = outcome.of(SourceDone)
        return SourceDone.model_validate_json(done.data)


@pytest.fixture
def runs(stage: Stage) -> Runs:
    return Runs(stage)


async def hits(words: str) -> Any:
    """What `stenobus search` finds among the events."""
    arguments = ["search", words, "--collection", "eventos", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    return json.loads(result.stdout)["results"]
