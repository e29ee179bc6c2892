"""At most so many events of a handler in work over all processes, whoever comes, goes, dies or stalls."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stenobus_bus import Bus, EmbeddedServer, Received, RetryableError, apply, cell, ledger
from stenobus_bus.fleet import shares
from stenobus_bus.topology import domain, key_value
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Ping
from .conftest import Bench, Handle

LIMIT = 3
LEASE = 2.0  # the consumer's ack_wait; a busy machine must not let a process stand that long


@pytest.fixture
async def elsewhere(server: EmbeddedServer) -> AsyncIterator[list[Bus]]:
    """Connections of further processes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Bus.connect(server.url)) for _ in range(4)]


async def test_four_processes_never_have_more_in_work_than_the_limit(bench: Bench, elsewhere: list[Bus]) -> None:
    now, most, done = 0, 0, []

    async def handle(received: Received[Ping]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            await asyncio.sleep(0.002)
            if received.event.number % 10 == 0 and received.attempt == 1:
                raise RetryableError("once more", delay=0.05)
        finally:
            now -= 1
        done.append(received.event.number)

    await bench.pings(*range(60))
    for bus in elsewhere:
        await bench.work(handle, bus=bus, concurrency=4, fleet_concurrency=LIMIT)
    await bench.pings(*range(60, 200))
    await eventually(lambda: len(done) == 200)
    assert sorted(done) == list(range(200))
    assert most == LIMIT


async def test_four_real_processes_keep_the_limit_while_one_of_them_is_killed(
    bench: Bench, server: EmbeddedServer
) -> None:
    await bench.pings(*range(150))
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", TIMING, server.url, bench.name, str(LEASE), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    begun: list[dict[str, float]] = [{} for _ in children]
    spans: list[tuple[float, float]] = []

    async def read(number: int) -> None:
        out = children[number].stdout
        assert out is not None
        async for line in out:
            what, event, at = line.decode().split()
            if what == "begun":
                begun[number][event] = float(at)
            else:
                spans.append((begun[number].pop(event), float(at)))

    readers = [asyncio.create_task(read(number)) for number in range(4)]
    try:
        victim, *_ = await eventually(lambda: len(spans) > 20 and [number for number in range(4) if begun[number]])
        children[victim].kill()
        await children[victim].wait()
        killed = time.monotonic()  # the clock is the same for all processes of a machine
        await eventually(bench.settled)
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
        await asyncio.gather(*readers, *(child.wait() for child in children))
    spans += [(at, killed) for at in begun[victim].values()]
    changes = sorted([(at, 1) for at, _ in spans] + [(at, -1) for _, at in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    assert most == LIMIT
    assert len(spans) >= 150


TIMING = """
import asyncio, sys, time
from stenobus_bus import Bus, ConsumerSpec, Worker
from stenobus_contracts import Event

class Ping(Event, subject="test.ping"):
    number: int

def say(what, received):
    print(what, received.event.number, time.monotonic(), flush=True)

async def handle(received):
    say("begun", received)
    await asyncio.sleep(0.02)
    say("done", received)
    return ()

async def main():
    bus = await Bus.connect(sys.argv[1])
    consumer = ConsumerSpec("TEST", sys.argv[2], "test.ping", ack_wait=float(sys.argv[3]))
    await Worker(bus, consumer, Ping, handle, concurrency=4, fleet_concurrency=3).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_retries_that_wait_for_their_time_hold_no_slot(bench: Bench, elsewhere: list[Bus]) -> None:
    done = []

    async def handle(received: Received[Ping]) -> None:
        if received.event.number < 10:
            raise RetryableError("much later", delay=60)
        done.append(received.event.number)

    await bench.pings(*range(20))
    await bench.work(handle, bus=elsewhere[0], fleet_concurrency=2, concurrency=2)
    await eventually(lambda: len(done) == 10)


async def test_slots_are_shared_out_and_a_newcomer_gets_its_part(bench: Bench, elsewhere: list[Bus]) -> None:
    early, late = Gate(), [Gate(), Gate()]

    def holding(gate: Gate) -> Handle:
        async def hold(received: Received[Ping]) -> None:
            await (early if received.event.number < 4 else gate)()

        return hold

    await bench.pings(*range(8))
    await bench.work(holding(late[0]), bus=elsewhere[0], concurrency=4, fleet_concurrency=4)
    await eventually(lambda: early.waiting == 4)
    await bench.work(holding(late[1]), bus=elsewhere[1], concurrency=4, fleet_concurrency=4)
    await still(lambda: late[1].waiting == 0, 0.3)  # what is in work is not taken away
    early.open()
    await eventually(lambda: [gate.waiting for gate in late] == [2, 2])
    for gate in late:
        gate.open()


async def test_a_process_that_stops_gives_its_slots_back_at_once(bench: Bench, elsewhere: list[Bus]) -> None:
    gate = Gate()

    async def hold(_: Received[Ping]) -> None:
        await gate()

    first = await bench.work(_nothing, bus=elsewhere[0], concurrency=4, fleet_concurrency=2, consumer={"ack_wait": 60})
    await bench.work(hold, bus=elsewhere[1], concurrency=4, fleet_concurrency=2, consumer={"ack_wait": 60})
    await first.stop()
    await bench.pings(1, 2, 3)
    await eventually(lambda: gate.waiting == 2)
    gate.open()


async def test_the_slot_of_a_killed_process_returns_with_its_lease(
    bench: Bench, server: EmbeddedServer, elsewhere: list[Bus]
) -> None:
    gate = Gate()

    async def hold(_: Received[Ping]) -> None:
        await gate()

    await bench.pings(1)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, server.url, bench.name, str(LEASE), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"at work\n"
    await bench.work(hold, bus=elsewhere[0], concurrency=4, fleet_concurrency=1, consumer={"ack_wait": LEASE})
    await still(lambda: gate.waiting == 0, 1.5 * LEASE)  # it lives, and renews its lease
    child.send_signal(signal.SIGKILL)
    await child.wait()
    await eventually(lambda: gate.waiting == 1)
    gate.open()


HOLDER = """
import asyncio, sys
from stenobus_bus import Bus, ConsumerSpec, Worker
from stenobus_contracts import Event

class Ping(Event, subject="test.ping"):
    number: int

async def hold(received):
    print("at work", flush=True)
    await asyncio.Event().wait()

async def main():
    bus = await Bus.connect(sys.argv[1])
    consumer = ConsumerSpec("TEST", sys.argv[2], "test.ping", ack_wait=float(sys.argv[3]))
    await Worker(bus, consumer, Ping, hold, concurrency=4, fleet_concurrency=1).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_that_slept_past_its_lease_begins_nothing_on_slots_that_others_have(
    bench: Bench, elsewhere: list[Bus]
) -> None:
    """Events that the server sent it meanwhile wait until it has slots again."""
    first = await bench.work(_nothing, bus=elsewhere[0], concurrency=2, fleet_concurrency=2)
    fleet = first._flow and first._flow._fleet
    assert fleet and fleet._keeper
    fleet._keeper.cancel()  # it sleeps
    await eventually(lambda: _asked(bench))
    fleet._trusted = 0.0  # and nobody knows for how long
    await bench.pings(1, 2)
    await eventually(lambda: first.active == 2)  # its requests were open
    await still(lambda: first.handled == 0, 0.1)
    await fleet._renew()
    await eventually(lambda: first.handled == 2)


async def _asked(bench: Bench) -> bool:
    return bool((await bench.info())["num_waiting"])


@pytest.mark.parametrize(
    "damage", [b"no record", b"[]", b'{"x": 1}', b'{"x": {"slots": "two", "wants": 1, "beat": 1}}']
)
async def test_a_damaged_record_makes_a_worker_not_ready_until_it_is_removed(bench: Bench, damage: bytes) -> None:
    worker = await bench.work(_nothing, fleet_concurrency=1)
    record = f"$KV.stenobus_limits.fleet.{bench.name}"
    assert worker.healthy
    await bench.bus.store(record, damage, {})  # somebody's hand
    await eventually(lambda: not worker.healthy)
    await bench.bus.store(record, b"", {"KV-Operation": "DEL"})
    await eventually(lambda: worker.healthy)
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)


async def test_work_goes_on_when_the_server_was_away_longer_than_the_lease(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, port=0)
    url = await server.start()
    done = []

    async def handle(received: Received[Ping]) -> None:
        done.append(received.event.number)

    async with await Bus.connect(url) as bus:
        await apply(bus, [domain("test"), key_value(ledger.BUCKET), key_value(cell.BUCKET)])
        bench = Bench(bus)
        worker = await bench.work(handle, concurrency=2, fleet_concurrency=2)
        await bench.pings(1)
        await eventually(lambda: done == [1])
        await server.stop()
        fleet = worker._flow and worker._flow._fleet
        assert fleet
        await eventually(lambda: fleet.slots == 0)  # nobody knows who has them by now
        again = EmbeddedServer(tmp_path, port=int(url.rpartition(":")[2]))
        await again.start()
        await bench.pings(2)
        await eventually(lambda: done == [1, 2])
        await worker.stop(grace=0)
    await again.stop()


async def test_a_handler_without_the_limit_has_no_part_in_it(bench: Bench) -> None:
    worker = await bench.work(_nothing, concurrency=4)
    assert worker._flow is None


@pytest.mark.parametrize(
    ("limit", "wants", "expected"),
    [
        (3, [4, 4, 4, 4], [1, 1, 1, 0]),
        (8, [4, 4], [4, 4]),
        (8, [1, 16], [1, 7]),
        (5, [4, 4, 1], [2, 2, 1]),
        (10, [2, 2], [2, 2]),
        (1, [4], [1]),
    ],
)
def test_slots_are_dealt_evenly_and_the_rest_to_the_eldest(limit: int, wants: list[int], expected: list[int]) -> None:
    assert list(shares(limit, {str(number): wish for number, wish in enumerate(wants)}).values()) == expected


async def _nothing(_: Received[Ping]) -> None:
    return None
