"""Nothing that takes an approval is done without one, and one is good for one thing, once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import PermanentError
from stenobus_contracts import (
    Action,
    Level,
    MonitorActionApproved,
    MonitorActionDone,
    MonitorActionProposed,
    MonitorAlert,
)
from stenobus_monitor import plugin
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.actions.course import Course
from stenobus_monitor.telling import done_text
from stenobus_testing import NatsServer, Stage, eventually

from .conftest import Containers
from .living import CRASHES, PLUGIN, World, crash
from .test_slice import _command


@pytest.fixture
def levels() -> dict[str, Level]:
    return {"restart": "approve"}


def approval(action_id: str, token: str, **more: Any) -> MonitorActionApproved:
    return MonitorActionApproved(action_id=action_id, approved_by="ops", token=token, **more)


async def waiting(world: World, containers: Containers, **options: Any) -> tuple[Any, Course]:
    """A container that crashed, and the proposal to restart it."""
    container = containers.run("worker", CRASHES, **{"labels": PLUGIN, **options})
    crash(container)
    course = await world.store.course(await world.proposes(container))
    assert course is not None
    return container, course


async def test_what_waits_for_people_is_done_once_they_approve_and_once_only(
    world: World, containers: Containers, key: Path
) -> None:
    container, course = await waiting(world, containers)
    action_id, token = course.action.action_id, Approvals(key).grant(course)
    assert course.level == "approve"
    assert await world.life.carry_out(action_id) is None
    done = await world.life.approve(approval(action_id, token), "event-1")
    assert done is not None and done.outcome == "succeeded", done
    assert await world.life.approve(approval(action_id, token), "event-1") == done  # the same event again
    with pytest.raises(PermanentError, match="succeeded already"):
        await world.life.approve(approval(action_id, token), "event-2")
    assert containers.happened(container, "start") == 2
    kept = await world.store.course(action_id)
    assert kept is not None and kept.token is None and kept.approved_by == "ops"
    assert any("refused" in step.text for step in kept.trail)


async def test_no_other_token_will_do(world: World, containers: Containers, key: Path, tmp_path: Path) -> None:
    container, course = await waiting(world, containers)
    action, soon = course.action, datetime.now(UTC) + timedelta(minutes=5)
    (other := tmp_path / "other.key").write_bytes(b"o" * 40)
    wrong = [
        "",
        "v1.1.0",
        Approvals(other).token(action, soon),
        Approvals(key).token(action, soon, undo=True),
        Approvals(key).token(action.model_copy(update={"action_id": "another"}), soon),
        Approvals(key).token(action.model_copy(update={"target": "another"}), soon),
        Approvals(key).token(action.model_copy(update={"kind": "limits"}), soon),
    ]
    for number, token in enumerate(wrong):
        with pytest.raises(PermanentError):
            await world.life.approve(approval(action.action_id, token), f"event-{number}")
    assert await world.life.carry_out(action.action_id) is None
    assert containers.happened(container, "start") == 1


async def test_an_expired_proposal_cannot_be_approved(world: World, containers: Containers, key: Path) -> None:
    container, course = await waiting(world, containers)
    over = datetime.now(UTC) - timedelta(seconds=1)
    await world.store.change_course(course.action.action_id, lambda _: course.model_copy(update={"expires_at": over}))
    token = Approvals(key).token(course.action, datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(PermanentError, match="expired"):
        await world.life.approve(approval(course.action.action_id, token), "event-1")
    assert containers.happened(container, "start") == 1


@pytest.mark.parametrize(
    "labels",
    [
        {"stenobus.plugin": "monitor"},
        {"com.docker.compose.service": "nats"},
        {"com.docker.compose.service": "executor", "stenobus.plugin": "acme"},
    ],
    ids=str,
)
async def test_the_monitor_its_executor_and_the_bus_are_never_touched_unasked(
    stage: Stage, world: World, containers: Containers, labels: dict[str, str]
) -> None:
    eager = await World.begin(stage.bus, levels={"restart": "automatic", "restart.plugin": "automatic"})
    try:
        container, course = await waiting(eager, containers, labels=labels)
        assert course.level == "approve"
        assert "nothing can be approved" in course.reason  # there is no key here
        assert await eager.life.carry_out(course.action.action_id) is None
        assert containers.happened(container, "start") == 1
    finally:
        await eager.end()


async def test_people_approve_by_the_command_and_hear_of_it(
    stage: Stage,
    containers: Containers,
    nats_server: NatsServer,
    key: Path,
    executor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "NATS_URL": nats_server.url, "MONITOR_ENGINE": str(executor), "MONITOR_EXECUTOR": str(executor),
        "MONITOR_CONTAINERS": f"{containers.prefix}-*", "MONITOR_DIAGNOSE": "rules", "MONITOR_SETTLE": "0.5",
        "MONITOR_APPROVAL_URL": "https://ops.example.com", "MONITOR_LEVELS": json.dumps({"restart": "approve"}),
        "MONITOR_CHANNELS": json.dumps([{"kind": "webhook", "name": "ops", "url": "http://127.0.0.1:9/"}]),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"STENOBUS_{name}", value)
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    await stage.run(plugin)
    crash(container)
    (message,) = await eventually(lambda: stage.stored(MonitorActionProposed), within=60)
    proposed = MonitorActionProposed.model_validate_json(message.data)
    action_id = proposed.action.action_id
    shown = await _command("actions", action_id)
    assert "approve · proposed" in shown and "dry run: would restart the container" in shown
    assert action_id in await _command("actions")

    async def told(status: str) -> MonitorAlert | None:
        found = [MonitorAlert.model_validate_json(each.data) for each in await stage.stored(MonitorAlert)]
        return next((each for each in found if each.status == status), None)

    asked = await eventually(lambda: told("proposed"), within=60)
    assert f"stenobus monitor approve {action_id}" in asked.text and asked.action_id == action_id
    assert f"Approve by link: https://ops.example.com/v1/actions/{action_id}/approve" in asked.text
    assert "nothing can be approved" not in proposed.reason
    # The key is the person's: the monitor has none.
    assert "names no key" in await _command("approve", action_id, fails=True)
    (other := tmp_path / "other.key").write_bytes(b"o" * 40)
    wrong = await _command("approve", action_id, "--by", "eve", fails=True, STENOBUS_MONITOR_APPROVAL_KEY=str(other))
    assert "an approval by eve was refused" in wrong and "nothing was done" in wrong
    said = await _command("approve", action_id, "--by", "ops", STENOBUS_MONITOR_APPROVAL_KEY=str(key))
    assert all(word in said for word in ("approved: by ops", "started", "done")) and "eve" not in said
    late = await _command("approve", action_id, fails=True, STENOBUS_MONITOR_APPROVAL_KEY=str(key))
    assert "The action is succeeded already" in late
    never = await _command("approve", action_id, "--undo", fails=True, STENOBUS_MONITOR_APPROVAL_KEY=str(key))
    assert "A restart cannot be taken back" in never
    (message,) = await eventually(lambda: stage.stored(MonitorActionDone), within=60)
    done = MonitorActionDone.model_validate_json(message.data)
    assert (done.outcome, done.action) == ("succeeded", proposed.action), done.detail
    acted = await eventually(lambda: told("acted"), within=60)
    assert "restart of" in acted.text and "succeeded" in acted.text and "Take it back" not in acted.text
    assert "approved: by ops" in await _command("actions", action_id)
    resolved = await eventually(lambda: told("resolved"), within=60)
    assert "Done: restart of" in resolved.text
    assert await asyncio.to_thread(containers.happened, container, "start") == 2
    token = Approvals(key).token(proposed.action, proposed.expires_at)
    streams = [each.data for each in await stage.stored(MonitorAlert)]
    assert not any(token.encode() in each for each in streams)


def test_people_hear_how_to_take_back_what_can_be() -> None:
    done = MonitorActionDone(
        action=Action(action_id="a1", incident_id="i1", kind="pause", target="acme"), outcome="succeeded"
    )
    assert "Take it back: stenobus monitor approve a1 --undo" in done_text(done, undoable=True).splitlines()


async def test_the_link_is_as_documented(world: World, containers: Containers, key: Path) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    crash(container)
    (proposed,) = await world.proposing.propose(await world.happens(container))
    action_id = proposed.action.action_id
    assert world.proposing.link(proposed) == f"https://ops.example.com/monitor/v1/actions/{action_id}/approve"
    assert world.proposing.link(proposed.model_copy(update={"level": "propose"})) is None
