"""Real containers on a real engine end, and the monitor brings them back, once and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stenobus_contracts import MonitorActionApproved, MonitorActionDone, MonitorActionProposed, MonitorIncident
from stenobus_monitor import plugin
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.engine import Engine
from stenobus_monitor.rules import deaths
from stenobus_monitor.store import Store
from stenobus_testing import NatsServer, Stage, eventually

from .conftest import KEY, SOCKET, Containers
from .living import CRASHES, PLUGIN, SLOW, crash, healthy_while, unhealthy


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
    assert containers.happened(container, "start") == 2
    assert await kinds(stage) == {"container.crashed"}


async def test_one_that_crashes_again_is_restarted_again_a_little_later(stage: Stage, containers: Containers) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    await stage.run(plugin)
    crash(container)
    first = await done(stage)
    crash(container)
    second = await done(stage, lambda each: each.action.action_id != first.action.action_id)
    assert (first.outcome, second.outcome) == ("succeeded", "succeeded"), second.detail
    assert containers.happened(container, "start") == 3
    store = await Store.open(stage.bus)
    course = await store.course(second.action.action_id)
    assert course is not None
    waited = course.since("checked") - course.since("automatic")
    assert waited >= timedelta(seconds=5)


async def test_the_monitors_own_restart_is_no_trouble(
    stage: Stage, containers: Containers, executor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key := tmp_path / "approvals.key").write_bytes(KEY)  # not the monitor's
    monkeypatch.setenv("STENOBUS_MONITOR_EXECUTOR", str(executor))
    monkeypatch.setenv("STENOBUS_MONITOR_LEVELS", json.dumps({"restart": "automatic"}))
    container = containers.run("worker", SLOW, healthcheck=healthy_while("/ok"))
    engine = Engine(str(SOCKET))
    await stage.run(plugin)
    await unhealthy(engine, container)

    (message,) = await eventually(lambda: stage.stored(MonitorActionProposed), within=60)
    proposed = MonitorActionProposed.model_validate_json(message.data)
    assert proposed.level == "approve"  # nobody has said yet that this is right
    token = Approvals(key).token(proposed.action, proposed.expires_at)
    await stage.publish(MonitorActionApproved(action_id=proposed.action.action_id, approved_by="ops", token=token))
    assert (await done(stage)).outcome == "succeeded"
    await eventually(lambda: resolved(stage), within=60)
    assert await kinds(stage) == {"container.unhealthy"}
    assert containers.happened(container, "start") == 2
    store = await Store.open(stage.bus)
    assert await store.holds() == []
    await engine.close()


async def test_what_an_operator_stops_is_held(
    stage: Stage, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "_BACK", timedelta(seconds=0.5))
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    await stage.run(plugin)
    store = await Store.open(stage.bus)
    container.stop(timeout=0)

    (hold,) = await eventually(store.holds, within=60)
    assert (hold.component, hold.by) == (f"container:{containers.name('worker')}", "docker stop")
    assert await stage.stored(MonitorActionProposed) == []
    container.start()

    async def released() -> bool:
        return not await store.holds()

    await eventually(released, within=60)


async def resolved(stage: Stage) -> list[MonitorIncident]:
    stored = [MonitorIncident.model_validate_json(each.data) for each in await stage.stored(MonitorIncident)]
    return [each for each in stored if each.status == "resolved"]
