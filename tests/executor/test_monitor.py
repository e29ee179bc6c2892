"""The whole monitor with nothing but the executor's socket: a plugin dies, and is brought back."""

from __future__ import annotations

import pytest

from stenobus_contracts import MonitorActionDone
from stenobus_monitor import plugin
from stenobus_testing import NatsServer, Stage, eventually

from ..monitor.living import CRASHES, PLUGIN, crash
from ..support.containers import Containers
from .conftest import Executor


async def test_a_crashed_plugin_is_brought_back(
    stage: Stage,
    executor: Executor,
    containers: Containers,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"ENGINE": executor.socket, "EXECUTOR": executor.socket, "DIAGNOSE": "rules", "SETTLE": 0.5}
    for name, value in settings.items():
        monkeypatch.setenv(f"STENOBUS_MONITOR_{name}", str(value))
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    await stage.run(plugin)
    crash(container)

    (message,) = await eventually(lambda: stage.stored(MonitorActionDone), within=60)
    done = MonitorActionDone.model_validate_json(message.data)
    assert (done.action.kind, done.action.target, done.outcome) == ("restart", container.name, "succeeded"), done.detail
    container.reload()
    assert container.status == "running"
    said = {"call": "restart", "name": container.name, "action": done.action.action_id, "approved": False}
    posted = [line for line in executor.audit if line["call"] == "restart"]
    assert [{key: line[key] for key in said} for line in posted] == [said, said]
    assert posted[-1]["status"] == 204
