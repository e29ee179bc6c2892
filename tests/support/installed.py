"""Distributions that are installed for one test only: real metadata, real entry points."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

#: A plugin on the contracts of the tests.
ACME = '''
    """Answers a ping by a pong."""

    from stenobus_bus import PermanentError, RetryPolicy
    from stenobus_contracts import Event
    from stenobus_core import Check, Context, Plugin, PluginSettings


    class AcmePing(Event, subject="acme.ping"):
        """A ping."""

        number: int


    class AcmePong(Event, subject="acme.pong"):
        """A pong."""

        number: int


    class Settings(PluginSettings):
        volume: int = 3


    plugin = Plugin("acme", summary="Pings and pongs", settings=Settings)


    @plugin.doctor
    def doctor(settings: Settings) -> list[Check]:
        return [Check("volume", settings.volume < 11, f"it goes to {settings.volume}")]


    @plugin.handler(retry=RetryPolicy(attempts=2, base=0.01))
    async def ping(event: AcmePing, ctx: Context[Settings, None]) -> AcmePong:
        """Pong."""
        if event.number < 0:
            raise PermanentError("there is no negative ping")
        return AcmePong(number=event.number)
'''


class Site:
    """A folder of installed distributions, first on ``sys.path``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        folder.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(str(folder))

    def install(
        self, name: str, code: str, *, entry: str = "", group: str = "stenobus.plugins", dist: str = ""
    ) -> None:
        """Install a module with one entry point.

        Args:
            name: of the entry point.
            entry: its value; the attribute ``plugin`` of the module by default.
        """
        dist = dist or name
        module = f"installed_{dist.replace('-', '_')}"
        self._monkeypatch.delitem(sys.modules, module, raising=False)
        (self.folder / f"{module}.py").write_text(dedent(code).lstrip())
        metadata = self.folder / f"{dist.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {entry or f'{module}:plugin'}\n")
