"""The rules every plugin must keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stenobus_contracts import MonitorAlert
from stenobus_monitor import plugin
from stenobus_testing import NatsServer, conformance

from .test_channels import Service, service  # noqa: F401 -- a fixture


@pytest.fixture(autouse=True)
def watched(
    monkeypatch: pytest.MonkeyPatch,
    nats_server: NatsServer,
    tmp_path: Path,
    service: Service,  # noqa: F811
) -> None:
    """The watch has a connection of its own, to the same server; alerts go to a service that takes them."""
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)
    channel = {"kind": "webhook", "name": "team", "url": service.url}
    monkeypatch.setenv("STENOBUS_MONITOR_CHANNELS", json.dumps([channel]))


told = MonitorAlert(
    channel="team", incident_id="i1", severity="critical", status="open", title="asr died", text="exit code 1"
)
TestMonitor = conformance(plugin, examples=[told])
