"""A monitor that dies at any moment neither repeats a restart nor forgets one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stenobus_bus import RetryableError
from stenobus_bus.cell import Cell
from stenobus_monitor.actions import life
from stenobus_monitor.actions.hands import Hands
from stenobus_monitor.actions.holds import Hold
from stenobus_monitor.actions.life import Overtaken
from stenobus_testing import Stage, eventually

from .conftest import Containers
from .living import CRASHES, PLUGIN, SLOW, World, crash, healthy_while, unhealthy

#: Records that one restart writes: taken over, budget, checked, started, verified, done, budget.
WRITES = 7


class Died(BaseException):
    """The process is gone."""


def crashed(containers: Containers, name: str = "worker", **options: Any) -> Any:
    container = containers.run(name, CRASHES, labels=PLUGIN, **options)
    crash(container)
    return container


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
async def test_a_death_at_any_write_is_made_up_for(
    world: World, stage: Stage, containers: Containers, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    container = crashed(containers)
    action_id = await world.proposes(container)
    writes, write = 0, Cell._write

    async def dying(self: Cell, value: dict[str, Any], revision: int) -> int | None:
        nonlocal writes
        writes += 1
        if writes == number and not after:
            raise Died
        written = await write(self, value, revision)
        if writes == number:
            raise Died
        return written

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "_write", dying)
        with pytest.raises(Died):
            await world.life.carry_out(action_id)
    await comes_to_a_good_end(stage, containers, container, action_id)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_around_the_call_is_made_up_for(
    world: World, stage: Stage, containers: Containers, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    container = crashed(containers)
    action_id = await world.proposes(container)
    post = Hands._post

    async def dying(self: Hands, *arguments: Any, **more: Any) -> None:
        if after:
            await post(self, *arguments, **more)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Hands, "_post", dying)
        with pytest.raises(Died):
            await world.life.carry_out(action_id)
    await comes_to_a_good_end(stage, containers, container, action_id)


async def comes_to_a_good_end(stage: Stage, containers: Containers, container: Any, action_id: str) -> None:
    """Another monitor goes on: it was started once at first, once again, and that is all."""
    other = await World.begin(stage.bus)
    try:
        done = await other.life.carry_out(action_id)
        assert done is not None and done.outcome == "succeeded", done
        assert await other.life.carry_out(action_id) == done
        assert containers.happened(container, "start") == 2
        book = await other.life._budget.book()
        assert [each.action for each in book.restarts] == [action_id] and not book.busy
    finally:
        await other.end()


async def test_a_restart_that_is_under_way_is_waited_for(
    world: World, stage: Stage, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = containers.run("worker", SLOW, labels=PLUGIN, healthcheck=healthy_while("/ok"))
    await unhealthy(world.engine, container)
    action_id = await world.proposes(container, "container.unhealthy")
    call: list[asyncio.Future[None]] = []

    async def sent(self: Hands, *arguments: Any, **more: Any) -> None:
        call.append(asyncio.get_running_loop().run_in_executor(None, lambda: container.restart(timeout=20)))
        await eventually(lambda: asyncio.to_thread(containers.happened, container, "kill"), within=60)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Hands, "_post", sent)
        with pytest.raises(Died):
            await world.life.carry_out(action_id)
    other = await World.begin(stage.bus)
    try:
        done = await other.life.carry_out(action_id)
        await call[0]
        assert done is not None and done.outcome == "succeeded", done
        assert containers.happened(container, "start") == 2 and containers.happened(container, "kill") == 1
    finally:
        await other.end()


async def test_who_was_overtaken_gets_no_further(world: World, stage: Stage, containers: Containers) -> None:
    container = crashed(containers)
    action_id = await world.proposes(container)
    slow = await world.life._take_over(action_id)
    other = await World.begin(stage.bus)
    try:
        done = await other.life.carry_out(action_id)
        assert done is not None and done.outcome == "succeeded"
        with pytest.raises(Overtaken):
            await world.life._advance(slow)
        assert containers.happened(container, "start") == 2
    finally:
        await other.end()


async def test_two_at_once_do_it_once(world: World, stage: Stage, containers: Containers) -> None:
    container = crashed(containers)
    action_id = await world.proposes(container)
    other = await World.begin(stage.bus)
    try:
        found = await asyncio.gather(
            world.life.carry_out(action_id), other.life.carry_out(action_id), return_exceptions=True
        )
        ended = [each for each in found if not isinstance(each, BaseException)]
        assert ended and all(isinstance(each, RetryableError) for each in found if isinstance(each, BaseException))
        assert containers.happened(container, "start") == 2
    finally:
        await other.end()


async def test_what_is_refused_while_it_waits_for_its_turn_is_given_back(
    world: World, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = crashed(containers)
    first = await world.life.carry_out(await world.proposes(container))
    assert first is not None and first.outcome == "succeeded"
    crash(container)
    waited: list[float] = []

    async def held(seconds: float) -> None:
        waited.append(seconds)
        await world.store.put_hold(Hold(id="h", component=f"container:{container.name}", by="ops"))

    monkeypatch.setattr(life, "asyncio", SimpleNamespace(sleep=held))
    second = await world.life.carry_out(await world.proposes(container, occurrences=2))
    assert second is not None and second.outcome == "refused" and "ops holds" in (second.detail or "")
    assert len(waited) == 1 and 0 < waited[0] <= 5
    assert [each.action for each in (await world.life._budget.book()).restarts] == [first.action.action_id]
    assert containers.happened(container, "start") == 2
