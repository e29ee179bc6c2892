"""Real containers on a real engine end, and the monitor brings them back, once and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stenobus_contracts import MonitorActionDone, MonitorActionProposed, MonitorIncident
from stenobus_monitor import plugin
from stenobus_testing import NatsServer, Stage, eventually

from .conftest import SOCKET, Containers
from .living import CRASHES, PLUGIN, crash, events


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer, containers: Containers) -> None:
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_ENGINE", str(SOCKET))
    monkeypatch.setenv("STENOBUS_MONITOR_EXECUTOR", str(SOCKET))
    monkeypatch.setenv("STENOBUS_MONITOR_CONTAINERS", f"{containers.prefix}-*")
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    monkeypatch.setenv("STENOBUS_MONITOR_SETTLE", "0.5")


async def done(stage: Stage, wanted: Callable[[MonitorActionDone], bool] = lambda _: True) -> MonitorActionDone:
    """The first action that ended."""

    async def find() -> MonitorActionDone | None:
        stored = [MonitorActionDone.model_validate_json(each.data) for each in await stage.stored(MonitorActionDone)]
        return next((each for each in stored if wanted(each)), None)

    found: MonitorActionDone = await eventually(find, within=60)
    return found


async def kinds(stage: Stage) -> set[str]:
    """Kinds of incidents that were told."""
    return {MonitorIncident.model_validate_json(each.data).kind for each in await stage.stored(MonitorIncident)}


async def test_a_crashed_plugin_is_restarted_at_once(stage: Stage, containers: Containers) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    await stage.run(plugin)
    crash(container)

    ended = await done(stage)
    assert (ended.action.kind, ended.action.target) == ("restart", containers.name("worker"))
    assert ended.outcome == "succeeded", ended.detail
    container.reload()
    assert container.status == "running"
    (message,) = await stage.stored(MonitorActionProposed)
    assert MonitorActionProposed.model_validate_json(message.data).level == "automatic"
    assert events(container, "start") == 2
    assert await kinds(stage) == {"container.crashed"}
