"""The command, as scripts see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stenobus_bus import Bus, EmbeddedServer
from stenobus_core.cli import cli
from stenobus_core.discovery import discover
from stenobus_core.host import Host
from stenobus_core.settings import CoreSettings
from stenobus_testing.servers import empty
from stenobus_testing.waiting import eventually

from .installed import Site


class Command:
    """``stenobus …`` in this process, on the session's server."""

    def __call__(self, *arguments: str, input: str | None = None, expect: int = 0) -> Result:
        result = CliRunner().invoke(cli, arguments, input=input)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == expect, result.output
        return result

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", expect=expect).stdout)

    def fails(self, *arguments: str, expect: int = 1, **more: Any) -> str:
        """The one sentence on stderr, and nothing on stdout."""
        result = self(*arguments, expect=expect, **more)
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix("Error: ").strip()


@contextmanager
def installed(
    name: str, source: str, server: EmbeddedServer, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """One plugin and no other, on an empty server."""

    async def prepare() -> None:
        async with await Bus.connect(server.url) as bus:
            await empty(bus)

    asyncio.run(prepare())
    site.install(name, source)
    monkeypatch.setenv("STENOBUS_NATS_URL", server.url)
    monkeypatch.setenv("STENOBUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STENOBUS_PLUGINS", name)
    yield


def work(*, until: int = 0) -> None:
    """Run the plugin until it has no more work, and is done with so many events."""

    async def run() -> None:
        settings = CoreSettings.load("core")
        async with await Bus.connect(settings.nats_url or "") as bus:
            host = Host(settings, bus, list(discover(settings).plugins.values()))
            await host.start()
            worker = host.workers["acme"]
            await eventually(lambda: worker.handled + worker.failures >= until)
            await eventually(lambda: not worker.active)
            await eventually(lambda: _settled(bus))
            await host.stop()

    asyncio.run(run())


async def _settled(bus: Bus) -> bool:
    info = await bus.api("CONSUMER.INFO.ACME.acme")
    return bool(info["num_pending"] == info["num_ack_pending"] == 0)
