"""A handler whose output stream is full waits: alive, and without using up an attempt."""

from __future__ import annotations

from functools import partialmethod

import pytest

from stenobus_bus import Bus, EmbeddedServer, Received, RetryPolicy
from stenobus_testing.waiting import eventually, still

from ..support.contracts import Ping, Pong
from .conftest import Bench


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish gives up after 0.3 seconds."""
    monkeypatch.setattr(Bus, "publish", partialmethod(Bus.publish, deadline=0.3))


async def _room(bench: Bench, messages: int) -> None:
    config = (await bench.bus.api("STREAM.INFO.TEST"))["config"]
    await bench.bus.api("STREAM.UPDATE.TEST", {**config, "max_msgs": messages})


async def test_an_output_waits_for_room_and_its_event_is_handled_once(
    bench: Bench, server: EmbeddedServer, impatient: None
) -> None:
    attempts = []

    async def handle(received: Received[Ping]) -> list[Pong]:
        attempts.append(received.attempt)
        return [Pong(number=received.event.number)]

    await bench.pings(1)
    await _room(bench, 1)
    patient = {"ack_wait": 3.0}
    worker = await bench.work(handle, retry=RetryPolicy(attempts=2, base=0.01), consumer=patient)
    async with await Bus.connect(server.url) as elsewhere:
        idle = await bench.work(handle, bus=elsewhere, consumer=patient)  # whom a redelivery would reach
        await eventually(lambda: attempts)
        await still(lambda: attempts == [1] and worker.active + idle.active == 1, 3.5)  # longer than the ack_wait
        await _room(bench, 10)
        await eventually(bench.settled)
        assert worker.handled + idle.handled == 1
        await idle.stop(grace=0)
    assert (attempts, worker.failures) == ([1], 0)
    assert (await bench.info())["delivered"]["consumer_seq"] == 1
    assert len(await bench.stored(Pong)) == 1


async def test_what_a_handler_publishes_itself_costs_no_attempt_either(bench: Bench, impatient: None) -> None:
    attempts = []

    async def handle(received: Received[Ping]) -> None:
        attempts.append(received.attempt)
        pong = Pong(number=1)
        await bench.bus.publish(pong, received.envelope.follow(pong, "handler"))

    await bench.pings(1)
    await _room(bench, 1)
    worker = await bench.work(handle, retry=RetryPolicy(attempts=2, base=0.01))
    await eventually(lambda: len(attempts) >= 4)
    await _room(bench, 10)
    await eventually(lambda: worker.handled == 1)
    assert set(attempts) == {1}
    assert (worker.failures, await bench.letters()) == (0, [])
