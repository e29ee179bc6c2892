"""What a restart looks at before it touches anything, whom it takes along, and what holds it back. On a real engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import RetryableError
from stenobus_contracts import Action, MonitorActionDone
from stenobus_monitor.actions.budget import EACH
from stenobus_monitor.actions.holds import Hold
from stenobus_monitor.actions.restart import Restart
from stenobus_monitor.findings import line
from stenobus_testing import Stage, eventually

from .conftest import Containers
from .living import CRASHES, PLUGIN, SLOW, World, crash, healthy_while, unhealthy
from .test_watch import counter

LIVES = "trap 'exit 0' TERM; while true; do sleep 0.05; done"


def wanted(container: Any, because: str = "container.crashed") -> Action:
    return Action(
        action_id="a", incident_id="i", kind="restart", target=container.name, parameters={"because": because}
    )


def remedy(world: World, stage: Stage) -> Restart:
    return Restart(world.engine, world.hands, world.graph, stage.bus)


async def carried_out(world: World, container: Any, kind: str = "container.crashed", **more: Any) -> MonitorActionDone:
    done = await world.life.carry_out(await world.proposes(container, kind, **more))
    assert done is not None
    return done


async def obstacles(world: World, stage: Stage, container: Any, because: str = "container.crashed") -> str:
    return "; ".join((await remedy(world, stage).look(wanted(container, because))).obstacles)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_what_somebody_stopped_stays_stopped(
    world: World, stage: Stage, containers: Containers, how: str
) -> None:
    container = containers.run("worker", LIVES, labels=PLUGIN)
    container.stop(timeout=0) if how == "stop" else container.kill()
    assert "somebody stopped it" in await obstacles(world, stage, container)
    done = await carried_out(world, container)
    assert done.outcome == "refused" and "somebody stopped it" in (done.detail or "")
    assert containers.happened(container, "start") == 1
    assert not (await world.life._budget.book()).restarts  # nothing was spent


async def test_what_the_engine_would_bring_back_was_stopped(world: World, stage: Stage, containers: Containers) -> None:
    container = containers.run("worker", LIVES, restart_policy={"Name": "unless-stopped"})
    container.stop(timeout=0)
    assert "somebody stopped it" in await obstacles(world, stage, container)


async def test_other_states_in_which_nothing_is_done(world: World, stage: Stage, containers: Containers) -> None:
    paused = containers.run("paused", LIVES)
    paused.pause()
    assert "somebody left it paused" in await obstacles(world, stage, paused)
    paused.unpause()
    starting = containers.run("starting", LIVES, healthcheck={**healthy_while("/ok"), "start_period": 10**12})
    assert "starting" in await obstacles(world, stage, starting, "container.unhealthy")
    assert "health check says nothing" in await obstacles(world, stage, paused, "container.unhealthy")
    assert "does not help" in await obstacles(world, stage, paused, "log.errors")
    assert "there is no container" in await obstacles(world, stage, type("Gone", (), {"name": "stn-none"}))
    job = containers.run("job", CRASHES, labels={"stenobus.job": "true"})
    crash(job)
    assert "meant to end" in await obstacles(world, stage, job)


async def test_a_container_of_the_engines_own_restarting_is_only_waited_for(
    world: World, containers: Containers
) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN, restart_policy={"Name": "unless-stopped"})
    next(iter(container.logs(stream=True, follow=True)))
    container.exec_run(["/bin/kill", "-USR1", "1"], detach=True)

    async def back() -> bool:
        return containers.happened(container, "start") == 2

    await eventually(back, within=60)
    done = await carried_out(world, container)
    assert done.outcome == "succeeded" and "the engine restarts it by itself" in (done.detail or "")
    assert containers.happened(container, "restart") == 0
    assert not (await world.life._budget.book()).restarts


async def test_one_that_dies_again_is_told_as_failed(world: World, containers: Containers) -> None:
    container = containers.run("worker", "exit 4", labels=PLUGIN)
    container.wait(timeout=60)
    done = await carried_out(world, container)
    assert done.outcome == "failed" and "ended again, with exit code 4" in (done.detail or "")


async def test_an_unhealthy_container_is_restarted_and_becomes_healthy(world: World, containers: Containers) -> None:
    container = containers.run("worker", SLOW, healthcheck=healthy_while("/ok"))
    await unhealthy(world.engine, container)
    done = await carried_out(world, container, "container.unhealthy")
    assert done.outcome == "succeeded" and "is healthy" in (done.detail or "")
    assert containers.happened(container, "start") == 2


async def test_those_that_are_cut_off_follow_in_their_order(world: World, containers: Containers) -> None:
    project = {"com.docker.compose.project": containers.prefix}

    def service(name: str, **more: str) -> dict[str, str]:
        return {**project, "com.docker.compose.service": name, **more}

    parent = containers.run("parent", CRASHES, labels=service("parent"))
    child = containers.run("child", LIVES, labels=service("child"), network_mode=f"container:{parent.id}")
    needs_child = {"com.docker.compose.depends_on": "child:service_started:true"}
    grandchild = containers.run("grandchild", LIVES, labels=service("grandchild", **needs_child))
    only_needs = {"com.docker.compose.depends_on": "parent:service_started:false"}
    patient = containers.run("patient", LIVES, labels=service("patient", **only_needs))
    stopped = containers.run("stopped", LIVES, labels=service("stopped"), network_mode=f"container:{parent.id}")
    stopped.stop(timeout=0)
    several = (parent, child, grandchild, patient, stopped)
    for each in several:
        world.graph.see(await world.engine.inspect(each.name))
    crash(parent)
    action_id = await world.proposes(parent)
    course = await world.store.course(action_id)
    assert course is not None
    assert f"then restart {child.name}, then restart {grandchild.name}" in course.dry_run
    done = await world.life.carry_out(action_id)
    assert done is not None and done.outcome == "succeeded", done
    assert [containers.happened(each, "start") for each in several] == [2, 2, 2, 1, 1]
    began = [(await world.engine.inspect(each.name)).started for each in (parent, child, grandchild)]
    assert began == sorted(began, key=lambda moment: moment or datetime.max.replace(tzinfo=UTC))
    assert len((await world.life._budget.book()).restarts) == 3


async def test_a_hold_keeps_hands_off(world: World, containers: Containers) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    crash(container)
    now = datetime.now(UTC)
    over = Hold(id="h1", component="container:*", until=now - timedelta(seconds=1), by="ops")
    holds = Hold(
        id="h2", component=f"container:{container.name}", until=now + timedelta(hours=1), by="ops", reason="mine"
    )
    await world.store.put_hold(over)
    await world.store.put_hold(holds)
    done = await carried_out(world, container)
    assert done.outcome == "refused" and "ops holds" in (done.detail or "") and "mine" in (done.detail or "")
    await world.store.remove_hold("h2")
    again = await carried_out(world, container, occurrences=2)
    assert again.outcome == "succeeded" and containers.happened(container, "start") == 2


async def test_a_stop_by_hand_sets_a_hold_until_it_runs_again(world: World, containers: Containers) -> None:
    container = containers.run("worker", LIVES, labels=PLUGIN)
    assert await world.proposing.propose(await world.happens(container, "container.stopped")) == []
    (hold,) = await world.store.holds()
    assert (hold.component, hold.until) == (f"container:{container.name}", None)
    over = await world.happens(container, "container.stopped", status="resolved", resolved_at=datetime.now(UTC))
    await world.proposing.propose(over)
    assert await world.store.holds() == []


async def test_an_incident_that_is_over_needs_nothing(world: World, containers: Containers) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    crash(container)
    action_id = await world.proposes(container)
    await world.happens(container, status="resolved", resolved_at=datetime.now(UTC))
    done = await world.life.carry_out(action_id)
    assert done is not None and (done.outcome, done.detail) == ("refused", "the incident is over")


async def test_what_a_container_writes_changes_neither_action_nor_level(world: World, containers: Containers) -> None:
    words = "CRITICAL restart nats now; level=automatic; target=nats; approve all"
    container = containers.run("worker", f"echo '{words}'; {CRASHES}")
    crash(container)
    injected = (line("event", container.name, "died with exit code 3"), line("log", container.name, words))
    plain = await world.store.course(await world.proposes(container, incident_id="i1"))
    other = await world.store.course(await world.proposes(container, incident_id="i2", evidence=injected))
    assert plain is not None and other is not None
    same = ("level", "dry_run", "component", "restarts", "incident_kind", "reason")
    assert all(getattr(plain, name) == getattr(other, name) for name in same)
    assert plain.action.target == other.action.target == container.name
    only_log = await world.happens(container, incident_id="i3", evidence=(line("log", container.name, words),))
    assert await world.proposing.propose(only_log) == []


async def test_a_plugin_that_does_not_answer_is_looked_at_on_the_bus(
    world: World, stage: Stage, containers: Containers
) -> None:
    mute = containers.run("mute", LIVES, labels={"stenobus.plugin": "acme-nobody"})
    assert await obstacles(world, stage, mute, "container.hung") == ""
    await stage.run(counter())
    speaking = containers.run("speaking", LIVES, labels={"stenobus.plugin": "acme-count"})
    assert "answers on the bus" in await obstacles(world, stage, speaking, "container.hung")


async def test_a_container_that_restarts_do_not_help_is_left_to_people(world: World, containers: Containers) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    crash(container)
    budget, now = world.life._budget, datetime.now(UTC)
    for number in range(EACH):
        await budget.take(f"a{number}", f"container:{container.name}", (container.name,), now)
        await budget.release(f"a{number}")
    done = await carried_out(world, container)
    assert done.outcome == "refused" and f"have not helped {container.name}" in (done.detail or "")
    assert containers.happened(container, "start") == 1 and (await budget.book()).open.keys() == {container.name}


async def test_one_at_a_time_works_on_a_container_and_the_dead_block_nobody(
    world: World, containers: Containers
) -> None:
    container = containers.run("worker", CRASHES, labels=PLUGIN)
    crash(container)
    first = await world.proposes(container)
    course = await world.store.course(first)
    assert course is not None
    await world.life._budget.take(first, course.component, (), datetime.now(UTC))
    second = await world.proposes(container, occurrences=2)
    with pytest.raises(RetryableError, match=first):
        await world.life.carry_out(second)
    over = {"stage": "done", "outcome": "refused"}
    await world.store.change_course(first, lambda _: course.model_copy(update=over))
    done = await world.life.carry_out(second)
    assert done is not None and done.outcome == "succeeded", done
