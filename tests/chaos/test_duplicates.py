"""Ids that repeat: at once, hours later, from another source, after a clock went back, in two processes at a time.

The server's window for duplicates is a tenth of a second here, the least it takes, so that hours pass in no time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

import pytest

from stenobus_bus import Bus, EmbeddedServer, Envelope, Received, settle
from stenobus_contracts import Event
from stenobus_testing.forgetting import forget_duplicates
from stenobus_testing.waiting import DEADLINE, Gate, eventually, still

from ..bus.conftest import Bench
from ..support.contracts import Ping, Pong


@pytest.fixture
async def bench(bus: Bus) -> AsyncIterator[Bench]:
    await forget_duplicates(bus, "TEST")
    bench = Bench(bus)
    yield bench
    for worker in bench.workers:
        await worker.stop(grace=0)


async def publish(bench: Bench, number: int, *, id: str, source: str = "producer") -> None:
    """As a producer does that remembers nothing: the server stores it, since its window is over."""
    event = Ping(number=number)
    before = len(await bench.stored(Ping))
    deadline = time.monotonic() + DEADLINE
    while (await bench.bus.publish(event, Envelope.new(event, source, id=id))).duplicate:
        assert time.monotonic() < deadline
    assert len(await bench.stored(Ping)) == before + 1


async def forward(received: Received[Ping]) -> Sequence[Event]:
    return [Pong(number=received.event.number)]


async def test_the_same_id_hours_later_is_the_same_event_and_another_source_makes_it_another_one(bench: Bench) -> None:
    await bench.work(forward)
    await publish(bench, 1, id="1")
    await publish(bench, 2, id="1")
    await publish(bench, 3, id="1", source="another producer")
    await eventually(bench.settled)
    assert [Pong.model_validate_json(pong.data).number for pong in await bench.stored(Pong)] == [1, 3]


async def test_ids_that_begin_anew_are_new_events_when_the_source_says_so(bench: Bench) -> None:
    """A counter or a clock that was reset repeats its ids. The source tells one life of the producer from the next."""
    await bench.work(forward)
    for life in ("boot-1", "boot-2"):
        for number in (1, 2):
            await publish(bench, number, id=str(number), source=f"sensor/{life}")
    await eventually(bench.settled)
    assert [Pong.model_validate_json(pong.data).number for pong in await bench.stored(Pong)] == [1, 2, 1, 2]


async def test_copies_in_two_processes_at_the_same_time_have_one_effect_behind_them(
    bench: Bench, server: EmbeddedServer
) -> None:
    gate, behind = Gate(), []

    async def wait(received: Received[Ping]) -> Sequence[Event]:
        await gate()
        return [Pong(number=received.event.number)]

    async def count(received: Received[Pong]) -> None:
        behind.append(received.envelope.id)

    async with await Bus.connect(server.url) as elsewhere:
        one = await bench.work(wait)
        await publish(bench, 1, id="1")
        await eventually(lambda: gate.waiting == 1)
        other = await bench.work(wait, bus=elsewhere)
        await publish(bench, 1, id="1")
        await eventually(lambda: gate.waiting == 2)
        gate.open()
        await eventually(bench.settled)
        assert one.handled == other.handled == 1
        await other.stop(grace=0)
    # Whether the server took one output or both is a matter of its window: they carry one id.
    last = await bench.work(count, Pong, name="behind")
    await eventually(lambda: bench.settled("behind"))
    assert last.active == 0
    assert len(behind) == 1
    assert len({pong.attributes["id"] for pong in await bench.stored(Pong)}) == 1


async def test_what_died_between_its_ledger_entry_and_its_acknowledgement_is_not_repeated(
    bench: Bench, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    acknowledge, lost = settle.acknowledge, Gate()

    async def die(*_: object) -> None:
        await lost()

    async def handle(received: Received[Ping]) -> Sequence[Event]:
        runs.append(received.attempt)
        return [Pong(number=received.event.number)]

    monkeypatch.setattr(settle, "acknowledge", die)
    dying = await Bus.connect(server.url)
    await bench.work(handle, bus=dying)
    await publish(bench, 1, id="1")
    await eventually(lambda: lost.waiting == 1)
    await dying.nc.close()
    bench.workers.clear()
    monkeypatch.setattr(settle, "acknowledge", acknowledge)
    worker = await bench.work(handle)
    await eventually(lambda: worker.stats.skipped == 1)
    await eventually(bench.settled)
    assert runs == [1]
    assert len(await bench.stored(Pong)) == 1


async def test_a_killed_workers_events_are_with_another_one_after_ack_wait(
    bench: Bench, server: EmbeddedServer
) -> None:
    gate, arrived = Gate(), []

    async def wait(_: Received[Ping]) -> None:
        await gate()

    async def handle(_: Received[Ping]) -> None:
        arrived.append(time.monotonic())

    dying = await Bus.connect(server.url)
    await bench.work(wait, bus=dying, concurrency=4)
    await bench.work(handle, concurrency=4)
    for number in range(8):
        await publish(bench, number, id=str(number))
    await eventually(lambda: gate.waiting)
    held, done = gate.waiting, len(arrived)
    writer = dying.nc._transport._io_writer  # type: ignore[union-attr]
    killed = time.monotonic()
    dying.nc.options["allow_reconnect"] = False
    writer.transport.abort()  # what the server sees of SIGKILL
    await eventually(lambda: len(arrived) >= done + held)
    print(f"killed → {held} events redelivered: {arrived[-1] - killed:.2f} s with an ack_wait of 1 s")
    await still(lambda: len(arrived) == 8, 0.2)
