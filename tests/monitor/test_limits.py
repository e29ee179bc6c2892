"""A container that died for want of memory gets more, and gives it back. On a real engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import Action, Level, MonitorActionApproved
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.containers import Container
from stenobus_testing import eventually

from .conftest import Containers
from .living import PLUGIN, World

MIB = 1024 * 1024
#: Its first process needs 20 MiB.
HUNGRY = "exec dd if=/dev/zero of=/dev/null bs=20M"
#: Lives on little, and ends when it is told to.
MODEST = "trap 'exit 0' TERM; while true; do sleep 0.05; done"
TIGHT: dict[str, Any] = {"mem_limit": 16 * MIB, "memswap_limit": 16 * MIB, "labels": PLUGIN}


@pytest.fixture
def levels() -> dict[str, Level]:
    return {"limits": "automatic"}


async def memory(world: World, container: Any) -> tuple[int, int]:
    """Limits of memory, and of memory and swap together, in MiB."""
    found = await world.engine.inspect(container.name)
    return found.memory_limit // MIB, found.memory_swap // MIB


async def test_what_died_for_want_of_memory_gets_more_and_is_started(world: World, containers: Containers) -> None:
    container = containers.run("worker", HUNGRY, **TIGHT)
    container.wait(timeout=60)
    await eventually(lambda: containers.happened(container, "oom"), within=60)  # after its end, at times
    action_id = await world.proposes(container, "container.oom")
    course = await world.store.course(action_id)
    assert course is not None and "from 16 MiB of memory to 24 MiB of memory, and start it" in course.dry_run
    done = await world.life.carry_out(action_id)
    assert done is not None and done.outcome == "succeeded", done
    assert await memory(world, container) == (24, 24)
    assert (await world.engine.inspect(container.name)).running and containers.happened(container, "start") == 2
    assert len((await world.life._budget.book()).restarts) == 1


@pytest.mark.parametrize("killed", [True, False])
async def test_the_engine_may_have_missed_the_flag(
    world: World, containers: Containers, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    container = containers.run("worker", HUNGRY if killed else "exit 3", **TIGHT)
    container.wait(timeout=60)
    if killed:
        await eventually(lambda: containers.happened(container, "oom"), within=60)
    inspect = world.engine.inspect

    async def unflagged(name: str) -> Container:
        return replace(await inspect(name), oom_killed=False, exit_code=137)

    monkeypatch.setattr(world.engine, "inspect", unflagged)
    action = Action(action_id="a", incident_id="i", kind="limits", target=container.name, parameters={"memory": 1.5})
    obstacles = (await world.life._remedies["limits"].look(action)).obstacles
    assert obstacles == (() if killed else ("it ended for another reason than memory",))


async def test_a_change_of_limits_is_taken_back_by_an_approval_for_that(
    world: World, containers: Containers, key: Path
) -> None:
    container = containers.run("worker", MODEST, **TIGHT)
    action_id = await world.proposes(container, "container.oom")
    done = await world.life.carry_out(action_id)
    assert done is not None and done.outcome == "succeeded" and await memory(world, container) == (24, 24)
    course = await world.store.course(action_id)
    assert course is not None
    token = Approvals(key).grant(course, undo=True)
    event = MonitorActionApproved(action_id=action_id, approved_by="ops", token=token, undo=True)
    undone = await world.life.approve(event, "event-1")
    assert undone is not None and undone.outcome == "undone", undone
    assert await memory(world, container) == (16, 16)
    assert containers.happened(container, "start") == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mem_limit": 0, "memswap_limit": 0}, "no limit"),
        ({"mem_limit": 6 * 1024 * MIB, "memswap_limit": 6 * 1024 * MIB}, "of 8192 MiB at most"),
    ],
    ids=str,
)
async def test_what_cannot_be_taken_back_or_is_too_much_is_not_done(
    world: World, containers: Containers, options: dict[str, int], why: str
) -> None:
    container = containers.run("worker", MODEST, **{**TIGHT, **options})
    before = await memory(world, container)
    done = await world.life.carry_out(await world.proposes(container, "container.oom"))
    assert done is not None and done.outcome == "refused" and why in (done.detail or "")
    assert await memory(world, container) == before


async def test_a_container_that_ended_for_another_reason_gets_nothing(world: World, containers: Containers) -> None:
    container = containers.run("worker", "exit 3", **TIGHT)
    container.wait(timeout=60)
    done = await world.life.carry_out(await world.proposes(container, "container.oom"))
    assert done is not None and done.outcome == "refused" and "another reason than memory" in (done.detail or "")
