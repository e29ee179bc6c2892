"""The host: lifecycles, services on the bus, runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from faststream import Depends
from faststream.nats import TestNatsBroker

from stenobus_bus import (
    Bus,
    ConsumerSpec,
    EmbeddedServer,
    PermanentError,
    RetryPolicy,
    ServerUnavailable,
    StreamSpec,
    apply,
)
from stenobus_bus.pull import PullLoop
from stenobus_contracts import BusAlert, Operation, asyncapi
from stenobus_core import Context, CoreSettings, Host, Plugin, PluginError, PluginSettings
from stenobus_core.streaming import Streaming
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import DEADLINE, Gate, eventually

from ..support.contracts import Order, Ping, Pong


def answering(name: str | None = None, **options: Any) -> Plugin:
    plugin = Plugin(name or unique(), summary="Answers pings", version="1.2.3")

    @plugin.handler(**options)
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=event.number)

    return plugin


async def ask(stage: Stage, subject: str) -> Any:
    return json.loads((await stage.bus.nc.request(subject, timeout=60)).data)


# --- lifecycle -------------------------------------------------------------------------------------------------------


async def test_resources_live_from_before_the_first_event_until_after_the_last(stage: Stage) -> None:
    plugin, story = Plugin(unique()), []

    @plugin.lifespan
    async def engine(settings: PluginSettings) -> AsyncIterator[str]:
        story.append("up")
        yield "engine"
        story.append("down")

    @plugin.handler()
    async def work(event: Ping, ctx: Context[PluginSettings, str]) -> None:
        story.append(ctx.state)

    host = await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: len(story) == 2)
    assert host.ready
    await host.stop()
    assert story == ["up", "engine", "down"]
    await host.stop()  # once more is harmless
    assert not host.ready


async def test_a_start_that_fails_halfway_leaves_nothing_running(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, started, start = Plugin(unique()), [], PullLoop.start

    @plugin.handler()
    async def work(event: Order) -> None: ...

    async def fail(self: PullLoop) -> None:
        if started:
            raise ServerUnavailable("gone")
        await start(self)
        started.append(self)

    monkeypatch.setattr(PullLoop, "start", fail)
    with pytest.raises(ServerUnavailable):
        await stage.run(plugin)
    (lane,) = started
    assert all(task.done() for task in (*lane._tasks, *lane._workers))


async def test_a_plugin_that_cannot_start_is_named_and_stops_nothing_else(stage: Stage) -> None:
    broken, healthy = answering(unique("broken")), answering()

    @broken.lifespan
    async def engine(settings: PluginSettings) -> AsyncIterator[None]:
        raise OSError("no such model")
        yield

    host = await stage.run(broken, healthy)
    assert host.failed == {broken.name: f"The plugin {broken.name} cannot start: no such model"}
    await stage.publish(Ping(number=1))
    await eventually(lambda: stage.stored(Pong))
    with pytest.raises(PluginError, match="cannot start: no such model"):
        await stage.run(broken)


async def test_two_plugins_cannot_have_one_handler_name(stage: Stage) -> None:
    one, two = answering(), Plugin(unique())
    two.handler(name=one.name)(one.handlers[0].function)
    with pytest.raises(PluginError, match=f"Two plugins claim the handler name {one.name}; switch one off"):
        await stage.run(one, two)


async def test_a_host_leaves_nothing_in_hand_when_it_stops(stage: Stage) -> None:
    plugin, gate = Plugin(unique()), Gate()

    @plugin.handler(concurrency=2)
    async def work(event: Ping) -> Pong:
        await gate()
        return Pong(number=event.number)

    host = await stage.run(plugin)
    for number in range(4):
        await stage.publish(Ping(number=number))
    await eventually(lambda: gate.waiting == 2)
    stopping = asyncio.create_task(host.stop(grace=10))
    await eventually(lambda: not host.ready)
    gate.open()
    await stopping
    assert len(await stage.stored(Pong)) == 2

    async def left() -> bool:  # the server counts acknowledgements a moment after they came
        info = await stage.bus.api(f"CONSUMER.INFO.TEST.{plugin.name}")
        return bool((info["num_ack_pending"], info["num_pending"]) == (0, 2))

    await eventually(left)


async def test_a_host_stops_when_its_server_is_gone(tmp_path: Path, settings: CoreSettings) -> None:
    server = EmbeddedServer(tmp_path / "nats", port=0)
    bus = await Bus.connect(await server.start())
    host = Host(settings, bus, [answering()])
    await host.start()
    await server.stop()
    await eventually(lambda: not bus.nc.is_connected)
    async with asyncio.timeout(DEADLINE):
        await host.stop()
        await bus.close()


async def test_the_topology_is_declared_and_drift_is_repaired_at_the_start(stage: Stage) -> None:
    plugin = answering()
    host = await stage.run(plugin)
    assert {change.action for change in await host.plan()} == {"none"}
    await host.stop()
    config = (await stage.bus.api(f"CONSUMER.INFO.TEST.{plugin.name}"))["config"]
    drifted = {"stream_name": "TEST", "config": {**config, "ack_wait": 50 * 10**9}}
    await stage.bus.api(f"CONSUMER.CREATE.TEST.{plugin.name}.test.ping", drifted)
    await stage.run(plugin)
    config = (await stage.bus.api(f"CONSUMER.INFO.TEST.{plugin.name}"))["config"]
    assert config["ack_wait"] == stage.settings.ack_wait * 10**9


# --- micro services --------------------------------------------------------------------------------------------------


async def test_plugins_are_micro_services_as_long_as_they_run(stage: Stage) -> None:
    plugin = answering(retry=RetryPolicy(attempts=1))
    host = await stage.run(plugin)
    info = await ask(stage, f"$SRV.INFO.{plugin.name}")
    assert (info["name"], info["version"], info["description"]) == (plugin.name, "1.2.3", "Answers pings")
    assert info["metadata"][plugin.name] == "test.ping"
    await stage.publish(Ping(number=1))
    await eventually(lambda: host.workers[plugin.name].handled == 1)
    stats = await ask(stage, f"$SRV.STATS.{plugin.name}")
    (endpoint,) = stats["endpoints"]
    counted = endpoint["data"][plugin.name]
    assert (counted["handled"], counted["failures"], counted["active"], counted["ready"]) == (1, 0, 0, True)
    await host.stop()
    with pytest.raises(Exception, match="no responders"):
        await ask(stage, f"$SRV.INFO.{plugin.name}")


async def test_ready_turns_red_when_a_consumer_cannot_be_made_anew_and_green_when_it_can(stage: Stage) -> None:
    plugin = answering()
    await stage.run(plugin)
    where = f"stenobus.ready.{plugin.name}"
    assert await ask(stage, where) == {"ready": True, "handlers": {plugin.name: True}}
    await eventually(lambda: _asking(stage, plugin.name))
    config = (await stage.bus.api("STREAM.INFO.TEST"))["config"]
    await stage.bus.api("STREAM.DELETE.TEST")
    await eventually(lambda: _ready(stage, where, False))
    assert (await ask(stage, where))["handlers"] == {plugin.name: False}
    await stage.bus.api("STREAM.CREATE.TEST", config)
    await eventually(lambda: _ready(stage, where, True))


async def _asking(stage: Stage, name: str) -> bool:
    return bool((await stage.bus.api(f"CONSUMER.INFO.TEST.{name}"))["num_waiting"])


async def _ready(stage: Stage, where: str, wanted: bool) -> bool:
    return (await ask(stage, where))["ready"] is wanted


# --- runs ------------------------------------------------------------------------------------------------------------


async def test_a_run_shows_each_step_as_it_happens(stage: Stage) -> None:
    plugin, gate = Plugin(unique()), Gate()

    @plugin.handler(retry=RetryPolicy(attempts=2, base=0.01))
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
        ctx.note(engine="acme", number=event.number)
        await ctx.progress(0.5, "half of it")
        await ctx.progress(0.2, "still half of it")
        await gate()
        return Pong(number=1)

    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1", id="id-1")
    await eventually(lambda: gate.waiting == 1)
    (step,) = await stage.steps("run-1")
    assert (step.handler, step.event_id, step.subject, step.status) == (plugin.name, "id-1", "test.ping", "running")
    gate.open()
    (step,) = await eventually(lambda: _done(stage, "run-1"))
    assert (step.progress, step.attempt, step.facts) == (1.0, 1, {"engine": "acme", "number": 1})
    assert step.message == "still half of it"
    assert step.seconds is not None
    assert step.finished is not None
    assert step.finished >= step.started


async def _done(stage: Stage, run: str) -> Any:
    steps = await stage.steps(run)
    return steps if steps and all(step.status in {"done", "failed"} for step in steps) else None


async def test_progress_never_goes_back_nor_beyond_its_end(stage: Stage) -> None:
    plugin, gate = Plugin(unique()), Gate()

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        for fraction in (0.3, -1, 7, 0.1):
            await ctx.progress(fraction)
        ctx._track.written = float("-inf")  # type: ignore[attr-defined] # the next one is written at once
        await ctx.progress(0.4, "now")
        await gate()

    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    await eventually(lambda: gate.waiting == 1)
    (step,) = await stage.steps("run-1")
    assert (step.progress, step.message) == (1.0, "now")
    gate.open()


async def test_a_step_whose_process_died_before_it_could_say_so_is_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, runs = Plugin(unique()), []

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        runs.append(ctx.attempt)
        await ctx.progress(0.5, "half")

    async def nothing(*_: object) -> None:
        """The process dies behind the ledger's entry."""

    with monkeypatch.context() as dying:
        dying.setattr("stenobus_core.tracking.RunTracker.succeeded", nothing)
        dying.setattr("stenobus_bus.settle.acknowledge", nothing)
        first = await stage.run(plugin)
        await stage.publish(Ping(number=1), run="run-1")
        await eventually(lambda: first.workers[plugin.name].handled == 1)
        assert [step.status for step in await stage.steps("run-1")] == ["running"]
        await first.stop(grace=0)
    await stage.run(plugin)
    (step,) = await eventually(lambda: _done(stage, "run-1"))
    assert (step.status, step.progress, runs) == ("done", 1.0, [1])


async def test_a_quick_step_is_written_once(stage: Stage) -> None:
    plugin, writes = Plugin(unique()), []

    @plugin.handler()
    async def work(event: Ping) -> None:
        """Is done at once."""

    async def write(msg: Any) -> None:
        writes.append(msg.data)

    await stage.bus.nc.subscribe("$KV.stenobus_runs.>", cb=write)
    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    (step,) = await eventually(lambda: _done(stage, "run-1"))
    await stage.bus.nc.flush()
    assert step.status == "done"
    assert len(writes) == 1


async def test_a_step_that_failed_and_comes_back_from_its_dead_letter_is_a_step_of_its_own(stage: Stage) -> None:
    from stenobus_bus.retries import retry

    plugin, broken = Plugin(unique()), [True]

    @plugin.handler()
    async def work(event: Ping) -> None:
        if broken:
            raise PermanentError("broken")

    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    (entry,) = await eventually(lambda: stage.letters(plugin.name))
    (step,) = await eventually(lambda: _done(stage, "run-1"))
    assert (step.status, step.reason, step.message) == ("failed", "permanent", "broken")
    broken.clear()
    await retry(stage.bus, entry)
    await eventually(lambda: _status(stage, "run-1", ["failed", "done"]))


async def _status(stage: Stage, run: str, wanted: list[str]) -> bool:
    return [step.status for step in await stage.steps(run)] == wanted


async def test_an_untracked_handler_leaves_no_step(stage: Stage) -> None:
    plugin = answering(track=False)
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: stage.stored(Pong))
    assert await stage.steps() == []


async def test_runs_of_other_names_are_not_shown(stage: Stage) -> None:
    plugin = answering()
    await stage.run(plugin)
    for run in ("one", "one-more", "two"):
        await stage.publish(Ping(number=1), run=run)
    await eventually(lambda: _all_done(stage, 3))
    assert [step.run for step in await stage.steps("one")] == ["one"]
    assert await stage.steps("three") == []
    assert await stage.steps("no such run.*") == []


async def _all_done(stage: Stage, count: int) -> bool:
    return [step.status for step in await stage.steps()] == ["done"] * count


# --- FastStream ------------------------------------------------------------------------------------------------------


async def volume() -> int:
    return 11


async def test_faststreams_test_broker_runs_a_handler_without_a_server() -> None:
    plugin, seen = Plugin(unique()), []

    @plugin.handler()
    async def work(event: Ping, loud: Annotated[int, Depends(volume)]) -> Pong:
        seen.append((event.number, loud))
        return Pong(number=event.number + loud)

    broker = Streaming([plugin]).broker
    async with TestNatsBroker(broker) as client:
        await client.publish({"number": 1}, Ping.subject, stream="TEST")
    assert seen == [(1, 11)]


async def test_faststream_sees_every_handler_as_a_durable_consumer_that_declares_nothing(bus: Bus) -> None:
    plugin = answering()
    (subscriber,) = Streaming([plugin]).broker.subscribers
    assert "test.ping" in str(subscriber.subject)
    assert subscriber.config.durable_name == plugin.name
    await apply(bus, [])
    (handler,) = plugin.handlers
    document = asyncapi([Ping, Pong], [Operation(handler.name, Ping, handler.outputs)], version="1")
    assert f"{plugin.name}.send.test.pong" in document["operations"]


# --- what no handler settled -----------------------------------------------------------------------------------------


async def test_any_host_buries_what_nobody_settled_and_the_run_shows_it(stage: Stage) -> None:
    await stage.run(answering())
    dead = unique("dead")
    await apply(stage.bus, [ConsumerSpec("TEST", dead, Ping.subject)])
    await stage.publish(Ping(number=1), run="run-1")
    taken = await stage.bus.nc.subscribe(stage.bus.nc.new_inbox())
    await stage.bus.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.TEST.{dead}", b"1", reply=taken.subject)
    msg = await taken.next_msg(timeout=60)
    await stage.bus.nc.publish(msg.reply, b"+TERM no")
    ((_, letter),) = await eventually(lambda: stage.letters(dead))
    assert (letter.reason, letter.run) == ("terminated", "run-1")
    assert await eventually(lambda: _failed(stage, dead)) == "terminated"


async def _failed(stage: Stage, handler: str) -> str | None:
    return next((step.reason for step in await stage.steps("run-1") if step.handler == handler), None)


async def test_a_rising_rate_of_dead_letters_is_an_event(stage: Stage) -> None:
    plugin = Plugin(unique())

    @plugin.handler()
    async def work(event: Ping) -> None:
        raise PermanentError("broken")

    await stage.run(plugin, alert_threshold=3, alert_window=5.0)
    for number in range(3):
        await stage.publish(Ping(number=number))
    (alert,) = await eventually(lambda: stage.stored(BusAlert))
    body = json.loads(alert.data)
    assert (body["handler"], body["reason"], body["count"], body["status"]) == (plugin.name, "permanent", 3, "open")


async def test_a_threshold_of_none_watches_nothing(stage: Stage) -> None:
    await stage.run(answering(), alert_threshold=0)
    assert not [task for task in asyncio.all_tasks() if "Alarm" in repr(task.get_coro())]


async def test_everything_a_host_declares_has_the_replicas_that_are_set(stage: Stage) -> None:
    host = Host(stage.settings.model_copy(update={"replicas": 3}), stage.bus, [])
    assert {spec.replicas for spec in host.topology() if isinstance(spec, StreamSpec)} == {3}
