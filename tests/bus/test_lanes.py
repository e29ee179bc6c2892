"""Lanes: urgent events come first, the others get their share, and no hand is idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.msg import Msg

from stenobus_bus import Bus, Delivery, EmbeddedServer, Received, Worker
from stenobus_bus.flow import Flow
from stenobus_bus.history import events
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Order
from .conftest import Bench, Handle


class Turns:
    """Handlers that end one by one, in the order in which a test lets them."""

    def __init__(self) -> None:
        self.begun: list[Received[Order]] = []
        self._ends: list[asyncio.Event] = []

    async def __call__(self, received: Received[Order]) -> None:
        end = asyncio.Event()
        self.begun.append(received)
        self._ends.append(end)
        await end.wait()

    def end(self, number: int) -> None:
        self._ends[number].set()

    def end_all(self) -> None:
        for end in self._ends:
            end.set()

    def urgent(self) -> list[bool]:
        return [received.event.urgent for received in self.begun]


async def work(bench: Bench, handle: Handle, *, weight: int = 3, **options: Any) -> Worker[Any]:
    plain = bench.consumer(Order)
    urgent = replace(plain, name=f"{plain.name}_urgent", subject="test.order.urgent")
    return await bench.work(handle, Order, lanes=[(urgent, weight)], **options)


async def orders(bench: Bench, numbers: range, *, urgent: bool = False) -> None:
    for number in numbers:
        await bench.publish(Order(number=number, urgent=urgent))


async def test_every_event_travels_in_its_lane_and_none_is_lost(bench: Bench) -> None:
    done = []

    async def handle(received: Received[Order]) -> None:
        done.append((received.event.number, received.envelope.subject))

    await orders(bench, range(20))
    await orders(bench, range(20, 40), urgent=True)
    worker = await work(bench, handle, concurrency=4)
    await bench.raw(b'{"number": 40}', "test.order.urgent")  # any producer may choose
    await bench.raw(b'{"number": 41}', "test.order")
    await eventually(lambda: worker.handled == 42)
    assert sorted(done) == [
        (number, "test.order.urgent" if 20 <= number <= 40 else "test.order") for number in range(42)
    ]
    assert [event.sequence for event in [e async for e in events(bench.bus, Order)]] == list(range(1, 43))


@pytest.mark.parametrize("concurrency", [1, 4, 8])
async def test_with_both_lanes_full_three_of_four_are_urgent(bench: Bench, concurrency: int) -> None:
    turns = Turns()
    await orders(bench, range(40))
    await orders(bench, range(40, 80), urgent=True)
    await work(bench, turns, concurrency=concurrency)
    for number in range(32):
        await eventually(lambda: len(turns.begun) > number)  # noqa: B023
        turns.end(number)
    begun = turns.urgent()[:32]
    slack = 2 + concurrency // 4  # how they alternate depends on when the lanes' requests meet
    assert 24 - slack <= sum(begun) <= 24 + slack
    assert not all(begun[4:20])
    assert not all(begun[16:])
    turns.end_all()


@pytest.mark.parametrize("urgent", [True, False])
async def test_with_one_lane_empty_the_other_has_all_hands(bench: Bench, urgent: bool) -> None:
    gate = Gate()

    async def handle(_: Received[Order]) -> None:
        await gate()

    await orders(bench, range(10), urgent=urgent)
    await work(bench, handle, concurrency=4)
    await eventually(lambda: gate.waiting == 4)
    await still(lambda: gate.waiting == 4, 0.2)
    gate.open()


async def test_an_urgent_event_has_the_next_free_hand(bench: Bench) -> None:
    turns = Turns()
    await orders(bench, range(20))
    await work(bench, turns, concurrency=2)
    await eventually(lambda: len(turns.begun) == 2)
    await orders(bench, range(20, 21), urgent=True)
    await eventually(lambda: _unsettled(bench, "_urgent"))  # it waits here already
    turns.end(0)
    await eventually(lambda: len(turns.begun) == 3)
    assert turns.urgent() == [False, False, True]
    turns.end_all()


async def test_hands_are_never_exceeded_over_all_lanes(bench: Bench) -> None:
    now = most = 0
    full = asyncio.Event()

    async def handle(_: Received[Order]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.001)
        now -= 1

    worker = await work(bench, handle, concurrency=3)
    for number in range(120):
        await bench.publish(Order(number=number, urgent=number % 3 == 0))
    await eventually(lambda: worker.handled == 120)
    assert most == 3


@pytest.fixture
async def elsewhere(server: EmbeddedServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(server.url) as bus:
        yield bus


async def test_lanes_share_the_fleets_slots(bench: Bench, elsewhere: Bus) -> None:
    now = most = done = 0

    async def handle(_: Received[Order]) -> None:
        nonlocal now, most, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        done += 1

    for bus in (bench.bus, elsewhere):
        await work(bench, handle, concurrency=4, fleet_concurrency=3, bus=bus)
    for number in range(120):
        await bench.publish(Order(number=number, urgent=number % 3 == 0))
    await eventually(lambda: done == 120)
    assert most == 3


async def test_a_stop_hands_back_what_waits_for_a_hand(bench: Bench, elsewhere: Bus) -> None:
    turns, done = Turns(), []

    async def handle(received: Received[Order]) -> None:
        done.append((received.event.number, received.attempt))

    await orders(bench, range(1))
    first = await work(bench, turns, concurrency=1)
    await eventually(lambda: len(turns.begun) == 1)
    await orders(bench, range(1, 2), urgent=True)
    await eventually(lambda: _unsettled(bench, "_urgent"))
    await first.stop(grace=0)
    await work(bench, handle, bus=elsewhere)
    await eventually(lambda: sorted(done) == [(0, 1), (1, 1)])
    assert turns.urgent() == [False]


async def _unsettled(bench: Bench, lane: str) -> bool:
    return bool((await bench.info(f"{bench.name}{lane}"))["num_ack_pending"])


async def test_a_hand_that_becomes_free_for_an_event_that_is_just_given_up_goes_to_the_next(bench: Bench) -> None:
    """A stop cancels the hands in one go, and an event may end at the same moment."""
    gate, begun = Gate(), []

    async def handle(msg: Msg, delivery: Delivery) -> None:
        begun.append(delivery.sequence)
        await gate()

    flow = Flow(bench.bus, bench.name, handle, concurrency=1, fleet=None, lease=1.0, rate=None)
    worker = await bench.work(Turns())
    lane = flow.lane(1)
    lane.loop = worker._loops[0]
    events = [Delivery("TEST", bench.name, 1, number, 0, 0) for number in (1, 2, 3)]
    tasks = [asyncio.create_task(flow.handle(lane, Msg(bench.bus.nc), event)) for event in events]
    await eventually(lambda: len(lane.waiting) == 2)
    tasks[1].cancel()
    flow._concurrency = 2
    flow._wake()
    await eventually(lambda: begun == [1, 3])
    gate.open()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["NoneType", "CancelledError", "NoneType"]
    assert flow._running == 0
