"""The pull loop: what is in hand, how it is kept, and what it survives."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from stenobus_bus import Bus, EmbeddedServer, Received, RetryPolicy, apply, connection, pull
from stenobus_bus.pull import PullLoop
from stenobus_bus.topology import domain, key_value
from stenobus_testing.waiting import DEADLINE, Gate, eventually, still

from ..support.contracts import Ping
from ..support.proxy import Proxy
from .conftest import Bench

#: Signs of life every second, any two of which may be late.
PATIENT = {"ack_wait": 3.0}


async def test_it_never_holds_more_than_it_has_hands(bench: Bench) -> None:
    gate = Gate()

    async def handle(_: Received[Ping]) -> None:
        await gate()

    worker = await bench.work(handle, concurrency=3)
    await bench.pings(*range(20))
    await eventually(lambda: gate.waiting == 3)
    info = await bench.info()
    assert (info["num_ack_pending"], worker.active) == (3, 3)
    gate.open()
    await eventually(lambda: worker.handled == 20)
    assert gate.most == 3
    assert (await bench.info())["num_redelivered"] == 0


async def test_it_asks_for_no_more_than_its_free_hands_all_along(bench: Bench) -> None:
    """As many again may be in hand whose work is done and whose end is being written down."""
    at_work: set[int] = set()
    counts: list[tuple[int, int]] = []

    async def handle(received: Received[Ping]) -> None:
        at_work.add(received.event.number)
        counts.append((len(at_work), worker.active))
        await asyncio.sleep(0)  # others may receive meanwhile
        at_work.remove(received.event.number)

    worker = await bench.work(handle, concurrency=3)
    await bench.pings(*range(60))
    await eventually(lambda: worker.handled == 60)
    assert max(working for working, _ in counts) <= 3
    assert max(held for _, held in counts) <= 6


async def test_a_hand_that_becomes_free_beside_a_small_request_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is too few for a request of its own then; once that other one is served, nobody else may come to ask."""
    monkeypatch.setattr(pull, "_HEARTBEAT", 30.0)  # after which the loop looks by itself
    gates = [Gate() for _ in range(6)]
    real = PullLoop._request

    async def request(self: PullLoop, count: int) -> None:
        await real(self, count)
        if count == 1:
            gates[1].open()  # it ends before the server can answer

    async def handle(received: Received[Ping]) -> None:
        await gates[received.event.number]()

    await bench.pings(*range(6))
    await bench.work(handle, concurrency=4, ledger=False)
    await eventually(lambda: sum(gate.waiting for gate in gates) == 4)
    monkeypatch.setattr(PullLoop, "_request", request)
    gates[0].open()
    await eventually(lambda: sum(gate.waiting for gate in gates[2:]) == 4)
    for gate in gates:
        gate.open()


async def test_a_slow_handler_does_not_block_a_fast_one(bench: Bench) -> None:
    gate, quick = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        if received.event.number == 0:
            await gate()
        quick.append(received.event.number)

    await bench.work(handle, concurrency=2)
    await bench.pings(*range(10))
    await eventually(lambda: len(quick) == 9)
    assert gate.waiting == 1
    gate.open()
    await eventually(lambda: quick[-1] == 0)


async def test_work_longer_than_ack_wait_is_done_once(bench: Bench, server: EmbeddedServer) -> None:
    gate, runs = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        runs.append(received.event.number)
        await gate()

    worker = await bench.work(handle, concurrency=2, consumer=PATIENT)
    await bench.pings(1, 2)
    await eventually(lambda: gate.waiting == 2)
    async with await Bus.connect(server.url) as elsewhere:
        idle = await bench.work(handle, concurrency=2, bus=elsewhere, consumer=PATIENT)  # whom a redelivery would reach
        await still(lambda: len(runs) == 2, 3.5)  # longer than the ack_wait
        gate.open()
        await eventually(lambda: worker.handled == 2)
        await eventually(bench.settled)
        await idle.stop(grace=0)
    assert sorted(runs) == [1, 2]
    assert (await bench.info())["delivered"]["consumer_seq"] == 2


async def test_signs_of_life_begin_at_receipt_and_not_when_a_handler_begins(
    bench: Bench, server: EmbeddedServer
) -> None:
    """An event that waits for its handler must not run out of time either."""
    worker = await bench.work(_nothing, consumer=PATIENT)
    loop = worker._loops[0]
    for task in loop._workers:
        task.cancel()
    await asyncio.gather(*loop._workers, return_exceptions=True)  # nobody takes it from the queue
    await bench.pings(1)
    await eventually(lambda: loop.active == 1)
    async with await Bus.connect(server.url) as elsewhere:
        idle = await bench.work(_nothing, bus=elsewhere, consumer=PATIENT)  # whom a redelivery would reach
        await still(lambda: idle.handled == 0, 3.5)
        await idle.stop(grace=0)
    assert (await bench.info())["num_ack_pending"] == 1


async def _nothing(_: Received[Ping]) -> None:
    return None


async def test_a_redelivery_of_what_is_in_hand_is_not_begun_anew(bench: Bench) -> None:
    gate, runs = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        runs.append(received.attempt)
        if len(runs) == 1:
            time.sleep(1.5)  # a handler that blocks the loop: nothing can tell the server that it is alive
        await gate()

    worker = await bench.work(handle, concurrency=2)
    await bench.pings(1)
    await eventually(lambda: _delivered(bench, 2))
    gate.open()
    await eventually(lambda: worker.handled == 1)
    await eventually(bench.settled)
    assert runs == [1]


async def _delivered(bench: Bench, times: int) -> bool:
    return bool((await bench.info())["delivered"]["consumer_seq"] >= times)


async def _asked(bench: Bench) -> bool:
    return bool((await bench.info())["num_waiting"])


async def test_the_servers_own_ack_wait_counts(bench: Bench) -> None:
    """An operator's backoff shortens the time the server waits; the signs of life follow it."""
    gate, runs = Gate(), []
    await apply(bench.bus, [bench.consumer(ack_wait=60.0)])
    config = (await bench.info())["config"]
    await bench.bus.api(
        f"CONSUMER.CREATE.TEST.{bench.name}.test.ping",
        {"stream_name": "TEST", "config": {**config, "backoff": [2_000_000_000, 3_000_000_000]}, "action": "update"},
    )

    async def handle(received: Received[Ping]) -> None:
        runs.append(received.attempt)
        await gate()

    await bench.work(handle, consumer={"ack_wait": 60.0}, concurrency=2)  # a hand for a redelivery
    await bench.pings(1)
    await eventually(lambda: runs)
    await still(lambda: runs == [1], 2.5)
    assert (await bench.info())["delivered"]["consumer_seq"] == 1
    gate.open()
    await eventually(bench.settled)


class Requests:
    """Counts a consumer's requests for events."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def count(self, msg: Msg) -> None:
        self.batches.append(json.loads(msg.data)["batch"])

    async def listen(self, bench: Bench) -> None:
        await bench.bus.nc.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.TEST.{bench.name}", cb=self.count)


async def test_a_deleted_consumer_is_made_anew_at_once_and_nothing_runs_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_EXPIRES", 300.0)  # nothing but the server's word tells that it is gone
    monkeypatch.setattr(pull, "_SILENCE", 300.0)
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    worker = await bench.work(handle)
    await bench.pings(1)
    await bench.raw(b'{"number": 2}')  # no id of its own
    await eventually(lambda: worker.handled == 2)
    await bench.bus.api(f"CONSUMER.DELETE.TEST.{bench.name}")
    await bench.pings(3)
    await eventually(lambda: worker.handled == 3)
    await eventually(bench.settled)
    assert numbers == [1, 2, 3]
    assert worker.healthy


async def test_while_the_stream_is_gone_it_is_not_ready_and_does_not_spin(bench: Bench) -> None:
    requests = Requests()
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    worker = await bench.work(handle)
    await requests.listen(bench)
    creations: list[Any] = []

    async def created(msg: Msg) -> None:
        creations.append(msg.data)

    await bench.bus.nc.subscribe(f"$JS.API.CONSUMER.CREATE.TEST.{bench.name}.>", cb=created)
    await eventually(lambda: _asked(bench))
    await bench.bus.api("STREAM.DELETE.TEST")
    await eventually(lambda: not worker.healthy)
    await still(lambda: not worker.healthy and len(requests.batches) + len(creations) < 10, 1.2)
    await apply(bench.bus, [domain("test")])
    await bench.pings(4)
    await eventually(lambda: numbers == [4])
    await eventually(lambda: worker.healthy)


async def test_a_refused_request_is_no_busy_loop(bench: Bench) -> None:
    requests = Requests()

    async def handle(_: Received[Ping]) -> None:
        return None

    worker = await bench.work(handle, concurrency=4)
    await requests.listen(bench)
    config = (await bench.info())["config"]
    await bench.bus.api(
        f"CONSUMER.CREATE.TEST.{bench.name}.test.ping",
        {"stream_name": "TEST", "config": {**config, "max_batch": 1}, "action": "update"},
    )
    await bench.pings(*range(8))  # wakes the loop, whose requests for several events are refused from now on
    await still(lambda: len(requests.batches) < 30, 1.0)
    await worker.stop(grace=0)
    worker = await bench.work(handle, concurrency=4)
    await eventually(bench.settled)
    assert requests.batches[-1] == 1


async def test_it_works_again_as_soon_as_the_server_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_HEARTBEAT", 300.0)  # after which the loop looks by itself
    monkeypatch.setattr(pull, "_SILENCE", 300.0)
    server = EmbeddedServer(tmp_path, port=0)
    url = await server.start()
    async with await Bus.connect(url) as bus:
        await apply(bus, [domain("test"), key_value("stenobus_ledger"), domain("dlq")])
        bench = Bench(bus)
        numbers: list[int] = []

        async def handle(received: Received[Ping]) -> None:
            numbers.append(received.event.number)

        await bench.work(handle)
        await bench.pings(1)
        await eventually(lambda: numbers == [1])
        await server.stop()
        await eventually(lambda: not bus.nc.is_connected)
        again = EmbeddedServer(tmp_path, port=int(url.rpartition(":")[2]))
        assert await again.start() == url
        await bench.pings(2)
        await eventually(lambda: numbers == [1, 2])
        await eventually(bench.settled)
        for worker in bench.workers:
            await worker.stop(grace=0)
    await again.stop()


async def test_a_stop_lets_running_handlers_finish_and_takes_nothing_new(bench: Bench) -> None:
    gate, done = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        await gate()
        done.append(received.event.number)

    worker = await bench.work(handle, concurrency=1)
    await bench.pings(1, 2)
    await eventually(lambda: gate.waiting == 1)
    stopping = asyncio.create_task(worker.stop(grace=10))
    await eventually(lambda: not worker.healthy)
    gate.open()
    await stopping
    assert done == [1]

    async def acknowledged() -> bool:
        return await bench.unacknowledged() == 0

    await eventually(acknowledged)


@pytest.mark.parametrize("structured", [False, True])
async def test_what_a_stop_interrupts_goes_to_another_worker_at_once_and_counts_as_no_attempt(
    bench: Bench, structured: bool
) -> None:
    gate, attempts = Gate(), []

    async def endless(_: Received[Ping]) -> None:
        await gate()

    async def handle(received: Received[Ping]) -> None:
        attempts.append((received.attempt, received.delivery.count))

    long = {"ack_wait": 300.0}
    if structured:
        event = {"specversion": "1.0", "id": "1", "source": "x", "type": "t", "data": {"number": 1}}
        await bench.raw(json.dumps(event).encode(), content_type="application/cloudevents+json")
    else:
        await bench.pings(1)
    for stops in (1, 2, 3):
        first = await bench.work(endless, consumer=long, retry=RetryPolicy(attempts=2))
        await eventually(lambda: gate.waiting == 1)
        await first.stop(grace=0)
        assert (await bench.info())["delivered"]["consumer_seq"] == stops
    second = await bench.work(handle, consumer=long, retry=RetryPolicy(attempts=2))
    await eventually(lambda: second.handled == 1)
    assert attempts == [(1, 4)]


async def test_a_stop_does_not_wait_for_a_handler_that_ignores_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.pull._PATIENCE", 0.2)
    gate, swallowed = Gate(), []

    async def handle(_: Received[Ping]) -> None:
        while True:
            try:
                await gate()
                return
            except asyncio.CancelledError:
                swallowed.append(True)

    worker = await bench.work(handle)
    await bench.pings(1)
    await eventually(lambda: gate.waiting == 1)
    async with asyncio.timeout(DEADLINE):
        await worker.stop(grace=0)
    assert swallowed
    gate.open()


async def test_a_stop_without_a_server_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_PATIENCE", 300.0)
    server = EmbeddedServer(tmp_path, port=0)
    bus = await Bus.connect(await server.start())
    await apply(bus, [domain("test"), key_value("stenobus_ledger")])
    bench, gate = Bench(bus), Gate()

    async def handle(_: Received[Ping]) -> None:
        await gate()

    worker = await bench.work(handle, concurrency=4)
    await bench.pings(1, 2, 3, 4)
    await eventually(lambda: gate.waiting == 4)
    await server.stop()
    await eventually(lambda: not bus.nc.is_connected)
    async with asyncio.timeout(DEADLINE):
        await worker.stop(grace=0)
    await bus.close()


async def test_a_worker_may_be_stopped_twice_and_before_it_was_started(bench: Bench) -> None:
    async def handle(_: Received[Ping]) -> None:
        return None

    worker = await bench.work(handle)
    await worker.stop(grace=0)
    await worker.stop(grace=0)
    await apply(bench.bus, [bench.consumer(name="other")])


async def test_two_workers_share_one_consumers_events(bench: Bench, server: EmbeddedServer) -> None:
    seen: dict[str, list[int]] = {"one": [], "two": []}
    gate = Gate()

    def handler(name: str) -> Any:
        async def handle(received: Received[Ping]) -> None:
            seen[name].append(received.event.number)
            await gate()

        return handle

    async with await Bus.connect(server.url) as other:
        one = await bench.work(handler("one"), concurrency=2)
        two = await bench.work(handler("two"), concurrency=2, bus=other)
        await bench.pings(*range(4))
        await eventually(lambda: gate.waiting == 4)
        gate.open()
        await eventually(bench.settled)
        await one.stop(grace=0)
        await two.stop(grace=0)
    assert sorted(seen["one"] + seen["two"]) == [0, 1, 2, 3]
    assert len(seen["one"]) == len(seen["two"]) == 2


async def test_a_half_open_connection_is_noticed_and_made_anew(
    bench: Bench, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_HEARTBEAT", 0.1)
    monkeypatch.setattr(pull, "_SILENCE", 0.3)
    monkeypatch.setattr(pull, "_EXPIRES", 0.5)
    monkeypatch.setattr(connection, "_PROBE", 0.3)
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    proxy = await Proxy(int(server.url.rpartition(":")[2])).start()
    async with await Bus.connect(proxy.url) as cut_off:
        worker = await bench.work(handle, bus=cut_off)
        await bench.pings(1)
        await eventually(bench.settled)
        await eventually(lambda: _asked(bench))
        proxy.strand()
        await bench.pings(2)
        await eventually(lambda: numbers == [1, 2])
        await eventually(lambda: worker.healthy)
        await worker.stop(grace=0)
    await proxy.stop()


async def test_a_stalled_event_loop_is_no_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_EXPIRES", 300.0)
    monkeypatch.setattr(pull, "_HEARTBEAT", 0.1)
    monkeypatch.setattr(pull, "_SILENCE", 1.5)
    worker = await bench.work(_nothing)
    requests = Requests()
    await eventually(lambda: _asked(bench))
    await requests.listen(bench)
    time.sleep(2.0)
    await still(lambda: worker.healthy and not requests.batches, 0.2)


async def test_a_request_of_a_dead_process_takes_events_until_it_expires(
    bench: Bench, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes a subscription to everything for the dead process's inbox."""
    assert pull._EXPIRES <= 5
    monkeypatch.setattr(pull, "_EXPIRES", 1.0)
    await bench.bus.nc.subscribe(">")
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    dying = await Bus.connect(server.url)
    await bench.work(handle, bus=dying, concurrency=4)
    await bench.pings(1)
    await eventually(lambda: numbers == [1])
    await eventually(lambda: _asked(bench))
    await dying.nc.close()
    bench.workers.clear()
    await bench.work(handle, concurrency=4)
    await bench.pings(2)
    await eventually(lambda: numbers == [1, 2])


async def test_a_loop_that_no_longer_asks_is_not_healthy(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None: ...

    worker = await bench.work(handle)
    assert worker.healthy
    (loop,) = worker._loops
    for task in loop._tasks:  # whatever ended it
        task.cancel()
    await eventually(lambda: not worker.healthy)


async def test_a_request_that_nobody_answers_is_noticed_before_it_expires(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_EXPIRES", 300.0)
    monkeypatch.setattr(pull, "_HEARTBEAT", 0.2)
    monkeypatch.setattr(pull, "_SILENCE", 0.5)
    gate, numbers = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)
        await gate()

    await bench.work(handle)
    await bench.pings(1)
    await eventually(lambda: gate.waiting == 1)
    await Requests().listen(bench)  # for the server somebody is there, and so it says nothing
    await bench.bus.api(f"CONSUMER.DELETE.TEST.{bench.name}")
    gate.open()
    await bench.pings(2)
    await eventually(lambda: numbers == [1, 2])
