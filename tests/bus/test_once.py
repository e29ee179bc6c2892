"""Nothing twice: the ledger, and outputs with ids of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stenobus_bus import (
    AccessDenied,
    Bus,
    Delivery,
    Envelope,
    PermanentError,
    PublishTimeout,
    Received,
    RetryPolicy,
    Stored,
    StreamFull,
)
from stenobus_bus import worker as worker_module
from stenobus_bus.ledger import BUCKET, Ledger
from stenobus_bus.topology import key_value
from stenobus_testing.waiting import DEADLINE, Gate, eventually, still

from ..support.contracts import Ping, Pong
from .conftest import Bench


async def again(bench: Bench, number: int, transport: str, **more: str) -> None:
    """The same event once more, past the server's window for duplicates."""
    envelope = Envelope.new(Ping(number=number), more.get("source", "test"), id="same")
    await bench.bus.publish(Ping(number=number), envelope, headers={"Nats-Msg-Id": transport})


async def test_a_duplicate_beyond_the_servers_window_is_skipped(bench: Bench) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    await bench.work(handle)
    await again(bench, 1, "first")
    await eventually(lambda: numbers == [1])
    await again(bench, 2, "second")
    await bench.pings(3)
    await eventually(lambda: len(numbers) == 2)
    await eventually(bench.settled)
    assert numbers == [1, 3]
    assert len(await bench.stored(Ping)) == 3


async def test_an_equal_id_of_another_source_is_another_event(bench: Bench) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    await bench.work(handle)
    await again(bench, 1, "first")
    await again(bench, 2, "second", source="other")
    await eventually(lambda: sorted(numbers) == [1, 2])


async def test_each_handler_has_a_ledger_of_its_own(bench: Bench) -> None:
    seen: list[str] = []

    def handler(name: str) -> Any:
        async def handle(_: Received[Ping]) -> None:
            seen.append(name)

        return handle

    await bench.work(handler("one"), name=f"{bench.name}-1")
    await bench.work(handler("two"), name=f"{bench.name}-2")
    await bench.pings(1)
    await eventually(lambda: sorted(seen) == ["one", "two"])


async def test_without_a_ledger_a_duplicate_runs_again(bench: Bench) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    await bench.work(handle, ledger=False)
    await again(bench, 1, "first")
    await again(bench, 2, "second")
    await eventually(lambda: sorted(numbers) == [1, 2])


async def test_outputs_are_stored_once_when_the_worker_dies_between_output_and_acknowledgement(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process: nothing of ours runs after it."""

    runs: list[int] = []
    real = bench.bus.publish

    async def handle(received: Received[Ping]) -> tuple[Pong, Pong]:
        runs.append(received.attempt)
        return Pong(number=1), Pong(number=2)

    async def publish_and_die(event: Any, envelope: Envelope, **more: Any) -> Stored:
        stored = await real(event, envelope, **more)
        if event.number == 2 and len(runs) == 1:
            raise Killed
        return stored

    monkeypatch.setattr(bench.bus, "publish", publish_and_die)
    dying = await bench.work(handle)
    await real(Ping(number=1), Envelope.new(Ping(number=1), "test"))
    (worker,) = dying._loops[0]._workers[:1]
    with pytest.raises(Killed):
        await asyncio.wait_for(asyncio.shield(worker), DEADLINE)
    dying._loops[0]._held.clear()  # a dead process gives no signs of life and hands nothing back
    await dying.stop(grace=0)
    survivor = await bench.work(handle)
    await eventually(lambda: survivor.handled == 1)
    assert runs == [1, 2]
    assert [message.data for message in await bench.stored(Pong)] == [Pong(number=n).body() for n in (1, 2)]


async def test_a_ledger_that_is_out_of_order_costs_no_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_bus.worker._PAUSE", 0.02)
    gate, attempts = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        attempts.append((received.attempt, received.delivery.count))
        await gate()

    worker = await bench.work(handle, consumer={"ack_wait": 1.0})
    config = (await bench.bus.api(f"STREAM.INFO.KV_{BUCKET}"))["config"]
    await bench.bus.api(f"STREAM.DELETE.KV_{BUCKET}")
    await bench.pings(1)
    await eventually(lambda: worker.active == 1)
    await bench.bus.api(f"STREAM.CREATE.KV_{BUCKET}", config)
    await eventually(lambda: gate.waiting == 1)
    await bench.bus.api(f"STREAM.DELETE.KV_{BUCKET}")
    gate.open()
    await bench.bus.api(f"STREAM.CREATE.KV_{BUCKET}", config)
    await eventually(lambda: worker.handled == 1)
    assert attempts == [(1, 1)]
    assert not await bench.letters()


async def test_copies_that_are_in_hand_together_run_once(bench: Bench) -> None:
    gate, numbers = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)
        await gate()

    worker = await bench.work(handle, concurrency=3)
    await again(bench, 1, "first")
    await again(bench, 2, "second")
    await bench.pings(3)
    await eventually(lambda: worker.active == 3 and gate.waiting == 2)
    gate.open()
    await eventually(bench.settled)
    assert sorted(numbers) == [1, 3]


async def test_a_copy_of_a_failed_event_is_tried_in_its_place(bench: Bench) -> None:
    gate, numbers = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)
        await gate()
        if received.event.number == 1:
            raise PermanentError("never")

    worker = await bench.work(handle, concurrency=2)
    await again(bench, 1, "first")
    await again(bench, 2, "second")
    await eventually(lambda: worker.active == 2 and gate.waiting == 1)
    gate.open()
    await eventually(bench.settled)
    assert numbers == [1, 2]


async def test_a_crowd_of_known_events_is_skipped_among_new_ones(bench: Bench) -> None:
    """Their look-ups share requests, more than one request can hold."""
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    async def publish(transport: str, *chosen: int) -> None:
        for number in chosen:
            envelope = Envelope.new(Ping(number=number), "test", id=f"id-{number}")
            await bench.bus.publish(Ping(number=number), envelope, headers={"Nats-Msg-Id": f"{transport}-{number}"})

    worker = await bench.work(handle, concurrency=600)
    await publish("first", *range(0, 600, 2))
    await eventually(bench.settled)
    await worker.stop()
    await publish("second", *range(600))
    await bench.work(handle, concurrency=600)
    await eventually(bench.settled)
    assert sorted(numbers) == list(range(600))


async def test_a_redelivery_asks_the_leader_of_the_ledger(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any replica answers a direct get, and one that lags does not know what was completed a moment ago."""
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    def lagging(_: Any, subject: str) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(False)
        return answer

    async def forget(*_: object) -> None:
        """The process dies before it acknowledges."""

    first = await bench.work(handle)
    with monkeypatch.context() as dying:
        dying.setattr("stenobus_bus.settle.acknowledge", forget)
        await bench.pings(1)
        await eventually(lambda: first.handled == 1)
        await first.stop(grace=0)
    monkeypatch.setattr("stenobus_bus.lookup.Lookup.holds", lagging)
    await bench.work(handle)
    await eventually(bench.settled)
    assert numbers == [1]


async def test_the_next_event_begins_while_the_ledger_is_still_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many again as there are hands may be about to end, and no more."""
    numbers: list[int] = []
    stored: list[asyncio.Future[bool]] = []

    def put(_: object, subject: str, value: bytes) -> asyncio.Future[bool]:
        stored.append(asyncio.get_running_loop().create_future())
        return stored[-1]

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    monkeypatch.setattr("stenobus_bus.entries.Entries.put", put)
    worker = await bench.work(handle, concurrency=2)
    await bench.pings(1, 2, 3, 4, 5)
    await eventually(lambda: len(numbers) == 4)
    assert (worker.active, worker.handled) == (4, 0)
    await still(lambda: len(numbers) == 4, 0.2)
    stored[0].set_result(True)
    await eventually(lambda: len(numbers) == 5)
    for entry in stored[1:]:
        entry.set_result(True)
    await eventually(bench.settled)
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_the_ledger_remembers_longer_than_streams_keep_events() -> None:
    from stenobus_bus.ledger import TTL
    from stenobus_bus.topology import domain

    assert key_value(BUCKET, ttl=TTL).initial["max_age"] > domain("test").initial["max_age"]


async def test_outputs_wait_for_room_in_their_stream_and_cost_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Bus.publish.__kwdefaults__, "deadline", 0.2)
    monkeypatch.setattr(worker_module, "_PAUSE", 0.05)
    attempts: list[int] = []

    async def handle(received: Received[Ping]) -> list[Pong]:
        attempts.append(received.attempt)
        return [Pong(number=received.event.number)]

    worker = await bench.work(handle, retry=RetryPolicy(attempts=1))
    config = (await bench.bus.api("STREAM.INFO.TEST"))["config"]
    await bench.bus.api("STREAM.UPDATE.TEST", {**config, "max_msgs": 1})
    await bench.raw(b'{"number": 1}')
    await eventually(lambda: attempts)
    await still(lambda: worker.active == 1, 1.0)
    assert await bench.letters() == []
    await bench.bus.api("STREAM.UPDATE.TEST", {**config, "max_msgs": -1})
    await eventually(lambda: worker.handled == 1)
    assert attempts == [1]
    assert len(await bench.stored(Pong)) == 1


async def test_a_hand_back_that_finds_no_room_either_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to the server's redelivery, each time would count as an attempt that nobody made."""
    monkeypatch.setattr(worker_module, "_PAUSE", 0.01)
    attempts: list[int] = []
    refusals = [PublishTimeout("no PubAck came"), StreamFull("the bucket is full")]
    hand_back = Ledger.hand_back

    async def refused(ledger: Ledger, delivery: Delivery) -> None:
        if refusals:
            raise refusals.pop()
        await hand_back(ledger, delivery)

    async def handle(received: Received[Ping]) -> None:
        attempts.append(received.attempt)
        if len(attempts) == 1:
            raise StreamFull("what the handler published found no room")

    monkeypatch.setattr(Ledger, "hand_back", refused)
    worker = await bench.work(handle, retry=RetryPolicy(attempts=1), consumer={"ack_wait": 300.0})
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)
    assert attempts == [1, 1]
    assert await bench.letters() == []


async def test_what_this_user_may_not_publish_waits_for_the_right_and_does_not_ask_all_the_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_PAUSE", 300.0)
    monkeypatch.setattr(worker_module, "_REFUSED", 0.01)
    refusals = [AccessDenied("This user may not publish on test.pong.")] * 2
    publish, attempts = Bus.publish, []

    async def refused(*event: Any, **options: Any) -> Stored:
        if refusals:
            raise refusals.pop()
        return await publish(*event, **options)

    async def handle(received: Received[Ping]) -> list[Pong]:
        attempts.append(received.attempt)
        return [Pong(number=received.event.number)]

    await bench.pings(1)
    monkeypatch.setattr(Bus, "publish", refused)
    worker = await bench.work(handle)
    await eventually(lambda: worker.handled == 1)
    assert attempts == [1]
    assert len(await bench.stored(Pong)) == 1
