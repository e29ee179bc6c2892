"""Flow control as a plugin declares it: lanes, fleets, rates, more processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, PermanentError, RateLimit
from stenobus_bus.pause import pause, places, resume
from stenobus_core import Context, Plugin, PluginError, PluginSettings
from stenobus_core.runs import Step
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Delivered, Order, Ping, Pong

# --- lanes -----------------------------------------------------------------------------------------------------------


def delivering(name: str, done: list[tuple[int, str]], **options: Any) -> Plugin:
    plugin = Plugin(name)

    @plugin.handler(**options)
    async def work(event: Order, ctx: Context[Any, Any]) -> Delivered:
        done.append((event.number, event.full_subject))
        return Delivered(number=event.number)

    return plugin


async def test_a_request_takes_the_lane_that_its_event_says_and_is_answered(stage: Stage) -> None:
    asking, answers = Plugin(unique()), []

    @asking.handler(requests=[Order])
    async def ask(event: Ping, ctx: Context[Any, Any]) -> None:
        answers.append((await ctx.request(Order(number=event.number, urgent=event.number == 1), timeout=60)).number)

    name, done = unique(), []
    await stage.run(asking, delivering(name, done))
    for number in range(2):
        await stage.publish(Ping(number=number), run=f"run-{number}")
    await eventually(lambda: sorted(answers) == [0, 1])
    assert sorted(done) == [(0, "test.order"), (1, "test.order.urgent")]

    async def delivered() -> list[Step]:  # written down after the answer went out
        return [step for step in await stage.steps("run-1") if step.handler == name and step.status == "done"]

    (step,) = await eventually(delivered)
    assert step.subject == "test.order.urgent"


async def test_a_pause_holds_all_lanes_and_a_lane_is_no_handler(stage: Stage) -> None:
    name, done = unique(), []
    host = await stage.run(delivering(name, done))
    held = await places(stage.bus, name)
    assert {place.consumer for place in held} == {name, f"{name}_urgent"}
    for place in held:
        await pause(stage.bus, place, datetime.now(UTC) + timedelta(hours=1))
    for urgent in (True, False):
        await stage.publish(Order(number=1, urgent=urgent))
    await still(lambda: not done, 0.3)
    assert host.ready
    for place in held:
        await resume(stage.bus, place)
    await eventually(lambda: len(done) == 2)


async def test_what_failed_in_a_lane_is_a_dead_letter_of_its_handler(stage: Stage) -> None:
    name, plugin = unique(), Plugin(unique())

    @plugin.handler(name=name)
    async def work(event: Order) -> None:
        raise PermanentError("no")

    await stage.run(plugin)
    await stage.publish(Order(number=1, urgent=True))
    (entry,) = await eventually(lambda: stage.letters(name))
    assert entry.letter.original_subject == "test.order.urgent"


def test_weights_are_for_lanes_that_the_contract_has() -> None:
    (handler,) = delivering("acme", []).handlers
    assert handler.lanes == {"urgent": 3}
    assert {handler: 1}  # a key, as others use it
    (handler,) = delivering("acme", [], lanes={"urgent": 7}).handlers
    assert handler.lanes == {"urgent": 7}
    with pytest.raises(PluginError, match="acme: Order has no lane express"):
        delivering("acme", [], lanes={"express": 1})
    with pytest.raises(PluginError, match=r"lanes\['urgent'\] must be above 0"):
        delivering("acme", [], lanes={"urgent": 0})


# --- fleets, rates, more processes -----------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere(server: EmbeddedServer) -> AsyncIterator[Bus]:
    """The connection of a second process."""
    async with await Bus.connect(server.url) as bus:
        yield bus


def pacing(name: str, starts: list[float], **options: Any) -> Plugin:
    plugin = Plugin(name)

    @plugin.handler(**options)
    async def work(event: Ping) -> Pong:
        starts.append(time.monotonic())
        return Pong(number=event.number)

    return plugin


async def test_two_processes_share_a_handlers_rate_and_what_waits_does_so_at_the_server(
    stage: Stage, elsewhere: Bus
) -> None:
    name, starts, limit = unique(), [], RateLimit(per_second=20, burst=2)
    begun = time.monotonic()
    for bus in (stage.bus, elsewhere):
        await stage.run(pacing(name, starts, rate=limit), bus=bus)
    for number in range(12):
        await stage.publish(Ping(number=number))
    held = []

    async def done() -> bool:
        held.append((await stage.bus.api(f"CONSUMER.INFO.TEST.{name}"))["num_ack_pending"])
        return len(starts) == 12

    await eventually(done)
    for number, start in enumerate(sorted(starts), 1):
        assert number <= limit.capacity + limit.rate * (start - begun)
    assert time.monotonic() - begun >= 10 / 20
    # One event per process waits in hand for its token, and one may be in work: of eight hands in all.
    assert max(held[len(held) // 2 :]) <= 4


async def test_a_limit_of_the_plugin_is_shared_by_handlers_and_used_by_name(stage: Stage) -> None:
    plugin, waits = Plugin(unique()), []

    @plugin.limits
    def limits(settings: PluginSettings) -> dict[str, RateLimit]:
        return {"tokens": RateLimit(per_second=10, burst=10)}

    @plugin.handler(concurrency=1)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        reservation = await ctx.limit("tokens").reserve(10)
        waits.append(reservation.waited)
        await reservation.settle(5)

    await stage.run(plugin)
    for number in range(2):
        await stage.publish(Ping(number=number))
    await eventually(lambda: len(waits) == 2)
    assert waits[0] < 0.1 < waits[1] < 0.9  # half of the tokens were given back, and came at once


async def test_a_limit_that_nobody_declares_is_named(stage: Stage) -> None:
    plugin, said = Plugin(unique()), []

    @plugin.limits
    def limits(settings: PluginSettings) -> dict[str, RateLimit]:
        return {"calls": RateLimit(per_second=1)}

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        with pytest.raises(PluginError) as caught:
            ctx.limit("tokens")
        said.append(str(caught.value))

    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: said)
    assert said == ["There is no limit 'tokens'; declared by @plugin.limits are: calls."]
    name = unique()
    with pytest.raises(PluginError, match=f"{name}: handler {name}: there is no limit 'tokens'"):
        await stage.run(pacing(name, [], rate="tokens"))


async def test_a_stop_hands_back_what_waits_for_its_token(stage: Stage, elsewhere: Bus) -> None:
    name, starts = unique(), []
    first = await stage.run(pacing(name, starts, rate=RateLimit(per_minute=1)))
    for number in range(2):
        await stage.publish(Ping(number=number))
    await eventually(lambda: starts and first.workers[name].active)
    await first.stop()
    await stage.run(pacing(name, starts), bus=elsewhere)  # the same handler, without the limit
    await eventually(lambda: len(starts) == 2)


async def test_the_fleet_of_a_handler_is_bounded_over_all_processes(stage: Stage, elsewhere: Bus) -> None:
    name, gate = unique(), Gate()

    def plugin() -> Plugin:
        made = Plugin(name)

        @made.handler(concurrency=4, fleet_concurrency=3)
        async def work(event: Ping) -> None:
            await gate()

        return made

    for bus in (stage.bus, elsewhere):
        await stage.run(plugin(), bus=bus)
    for number in range(10):
        await stage.publish(Ping(number=number))
    await eventually(lambda: gate.waiting == 3)
    gate.open()
    await eventually(lambda: stage.settled(name))
    assert gate.most == 3


async def test_a_process_that_joins_takes_its_share_of_a_backlog_with_no_configuration(
    stage: Stage, elsewhere: Bus
) -> None:
    name, counts = unique(), [0, 0]

    def plugin(process: int) -> Plugin:
        made = Plugin(name)

        @made.handler(concurrency=4)
        async def work(event: Ping) -> None:
            counts[process] += 1
            await asyncio.sleep(0.002)

        return made

    for number in range(400):
        await stage.publish(Ping(number=number))
    await stage.run(plugin(0))
    await eventually(lambda: counts[0] >= 20)
    await stage.run(plugin(1), bus=elsewhere)
    await eventually(lambda: stage.settled(name))
    assert sum(counts) == 400
    assert counts[1] >= 100
