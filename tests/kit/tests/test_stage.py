"""Joining instead of waiting."""

from __future__ import annotations

import asyncio
import json

import pytest

from stenobus_bus import PermanentError, RetryPolicy
from stenobus_core import Context, Plugin
from stenobus_testing import Gate, Stage, eventually

from ...support.contracts import Order, Ping, Pong


def passing(gate: Gate | None = None) -> Plugin:
    """A plugin that makes a pong of a ping, once a gate is open."""
    plugin = Plugin("passing")

    @plugin.handler(retry=RetryPolicy(attempts=2, base=0.2))
    async def work(event: Ping, ctx: Context) -> Pong:
        if gate is not None:
            await gate()
        if event.number == 0 and ctx.attempt == 1:
            raise ValueError("not yet")
        if event.number < 0:
            raise PermanentError("never")
        return Pong(number=event.number)

    return plugin


async def test_it_returns_what_was_published_what_was_buried_and_what_was_done(stage: Stage) -> None:
    await stage.run(passing())
    await stage.publish(Ping(number=1), run="good")
    await stage.publish(Ping(number=-1), run="bad")
    outcome = await stage.run_until_idle()
    assert sorted((message.subject, message.run) for message in outcome.published) == [
        ("test.ping", "bad"),
        ("test.ping", "good"),
        ("test.pong", "good"),
    ]
    assert [(entry.letter.run, entry.letter.message) for entry in outcome.letters] == [("bad", "never")]
    assert {step.run: step.status for step in outcome.steps} == {"good": "done", "bad": "failed"}


async def test_it_tells_only_what_happened_since_the_last_time(stage: Stage) -> None:
    await stage.run(passing())
    await stage.publish(Ping(number=-1))
    assert len((await stage.run_until_idle()).letters) == 1
    await stage.publish(Ping(number=7))
    outcome = await stage.run_until_idle()
    assert [json.loads(pong.data)["number"] for pong in outcome.of(Pong)] == [7]
    assert outcome.letters == ()


async def test_an_event_that_waits_for_another_attempt_is_work_left(stage: Stage) -> None:
    await stage.run(passing())
    await stage.publish(Ping(number=0))
    assert len((await stage.run_until_idle()).of(Pong)) == 1


async def test_who_is_not_idle_in_time_is_named(stage: Stage) -> None:
    gate = Gate()
    await stage.run(passing(gate))
    await stage.publish(Ping(number=1))
    with pytest.raises(AssertionError, match=r"not idle within 0.2 s: passing has 1 events left \(1 in hand"):
        await stage.run_until_idle(within=0.2)


async def test_it_goes_on_as_soon_as_the_last_event_is_done(stage: Stage) -> None:
    gate = Gate()
    await stage.run(passing(gate))
    await stage.publish(Ping(number=1))
    waiting = asyncio.create_task(stage.run_until_idle())
    await eventually(lambda: gate.waiting == 1)
    assert not waiting.done()
    gate.open()
    assert len((await waiting).of(Pong)) == 1


async def test_events_in_a_lane_are_work_left(stage: Stage) -> None:
    gate, plugin = Gate(), Plugin("laned")

    @plugin.handler(lanes={"urgent": 2})
    async def work(event: Order) -> None:
        await gate()

    await stage.run(plugin)
    await stage.bus.store("test.order.urgent", Order(number=1).body(), {})
    with pytest.raises(AssertionError, match="laned_urgent has 1 events left"):
        await stage.run_until_idle(within=0.3)
    gate.open()
    await stage.run_until_idle()
