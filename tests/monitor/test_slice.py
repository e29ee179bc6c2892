"""A real container dies on a real engine, and everything that has to follow follows, on a real bus."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from stenobus_contracts import MonitorActionProposed, MonitorIncident
from stenobus_monitor import plugin
from stenobus_testing import NatsServer, Stage, eventually

from .conftest import SOCKET, Containers


async def test_a_container_dies_and_comes_back(
    stage: Stage,
    containers: Containers,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_ENGINE", str(SOCKET))
    monkeypatch.setenv("STENOBUS_MONITOR_CONTAINERS", f"{containers.prefix}-*")
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    monkeypatch.setenv("STENOBUS_MONITOR_SETTLE", "0.5")
    script = "trap 'echo no space left on device; exit 3' USR1; while true; do sleep 0.05; done"
    container = containers.run("worker", script, environment={"API_KEY": "hunter2-planted"})
    await stage.run(plugin)
    container.kill(signal="USR1")
    container.wait(timeout=60)

    async def incidents() -> list[MonitorIncident]:
        return [MonitorIncident.model_validate_json(each.data) for each in await stage.stored(MonitorIncident)]

    (incident,) = await eventually(incidents)
    assert (incident.kind, incident.status, incident.severity) == ("container.crashed", "open", "critical")
    assert incident.component == f"container:{containers.name('worker')}"
    texts = {line.kind: line.text for line in incident.evidence}
    assert texts["event"] == "died with exit code 3"
    assert texts["log"] == "no space left on device"

    (message,) = await eventually(lambda: stage.stored(MonitorActionProposed))
    proposed = MonitorActionProposed.model_validate_json(message.data)
    assert (proposed.action.kind, proposed.action.target) == ("restart", containers.name("worker"))
    assert proposed.action.incident_id == incident.incident_id
    assert proposed.level == "observe"
    assert container.attrs["Id"] and not container.client.containers.get(container.id).attrs["State"]["Running"]

    assert incident.incident_id in await _command("incidents")

    container.start()
    resolved = (await eventually(lambda: _resolved(stage)))[0]
    assert resolved.incident_id == incident.incident_id
    assert resolved.resolved_at and resolved.resolved_at > incident.started_at
    outcome = await stage.run_until_idle()
    assert outcome.letters == ()
    assert all(b"hunter2-planted" not in message.data for message in outcome.published)

    told = capsys.readouterr().out
    assert f"CRITICAL {incident.incident_id} {containers.name('worker')} crashed with exit code 3" in told
    assert f"RESOLVED {incident.incident_id}" in told
    shown = await _command("show", incident.incident_id)
    assert "no space left on device" in shown and "resolved" in shown
    assert incident.incident_id not in await _command("incidents")
    assert json.loads(await _command("incidents", "--all", "--json"))[0]["status"] == "resolved"


async def _command(*arguments: str, fails: bool = False, **environment: str) -> str:
    """What ``stenobus monitor`` prints, with more in its environment; with what it says of a failure."""
    code = "from stenobus_monitor.monitor_command import monitor; monitor()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if fails else None,
        env=os.environ | environment,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == int(fails), out
    return out.decode()


async def _resolved(stage: Stage) -> list[MonitorIncident]:
    stored = [MonitorIncident.model_validate_json(each.data) for each in await stage.stored(MonitorIncident)]
    return [incident for incident in stored if incident.status == "resolved"]
