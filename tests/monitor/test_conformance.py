"""The rules every plugin must keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenobus_monitor import plugin
from stenobus_testing import NatsServer, conformance


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer, tmp_path: Path) -> None:
    """The watch has a connection of its own, to the same server."""
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)


TestMonitor = conformance(plugin)
