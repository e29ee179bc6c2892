"""Replay in place: the consumer goes back, and the ledger forgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import Received
from stenobus_bus import rewind as module
from stenobus_bus.history import Remembered, replay
from stenobus_bus.pause import pause, places
from stenobus_bus.rewind import recreate, rewind
from stenobus_bus.selection import Selection, select
from stenobus_testing.forgetting import forget_duplicates
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Ping, Pong
from .conftest import Bench


class Pair:
    """A handler and one behind it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.first: list[int] = []
        self.behind: list[int] = []
        self.ids: set[str] = set()

    async def start(self, **options: Any) -> None:
        async def handle(received: Received[Ping]) -> tuple[Pong]:
            assert received.envelope.replay is None
            self.first.append(received.event.number)
            return (Pong(number=received.event.number),)

        async def listen(received: Received[Pong]) -> None:
            self.ids.add(received.envelope.id)
            self.behind.append(received.event.number)

        await self.bench.work(handle, **options)
        await self.bench.work(listen, Pong, name=f"{self.bench.name}-behind")

    async def settled(self) -> bool:
        return await self.bench.settled() and await self.bench.settled(f"{self.bench.name}-behind")

    def selected(self, **more: Any) -> AsyncIterator[Remembered]:
        return select(self.bench.bus, Selection(Ping, **more))

    async def rewind(self, sequence: int, **more: Any) -> int:
        return await rewind(
            self.bench.bus, self.bench.name, "TEST", sequence, self.selected(from_sequence=sequence, **more)
        )

    async def handled(self, *numbers: int) -> None:
        await self.bench.pings(*numbers)
        await eventually(lambda: len(self.behind) == len(numbers))
        await eventually(self.settled)


@pytest.fixture
def pair(bench: Bench) -> Pair:
    return Pair(bench)


@pytest.fixture(params=["moved", "made anew"])
def server_age(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that can move a consumer, and what is done with one that cannot."""
    if request.param == "made anew":
        monkeypatch.setattr(module, "_RESET_SINCE", (99, 0))


@pytest.mark.usefixtures("server_age")
async def test_a_handler_works_again_on_what_was_selected_and_on_nothing_else(pair: Pair) -> None:
    await pair.start()
    await pair.handled(*range(1, 6))
    stored = await pair.bench.stored(Pong)
    third = (await pair.bench.stored(Ping))[2].sequence
    assert await pair.rewind(third, limit=2) == 2
    await eventually(lambda: len(pair.first) == 7)
    await eventually(pair.settled)
    assert sorted(pair.first[5:]) == [3, 4]
    # The outputs are the same ones: stored once, and known behind.
    assert await pair.bench.stored(Pong) == stored
    assert sorted(pair.behind) == [1, 2, 3, 4, 5]
    await pair.bench.pings(6)
    await eventually(lambda: pair.behind[-1] == 6)


async def test_outputs_that_the_server_has_forgotten_are_stored_again_and_skipped_behind(pair: Pair) -> None:
    await pair.start()
    await pair.handled(1)
    await forget_duplicates(pair.bench.bus, "TEST")
    assert await pair.rewind(1) == 1
    await eventually(lambda: pair.first == [1, 1])
    await eventually(pair.settled)
    one, two = await pair.bench.stored(Pong)
    assert one.event_id == two.event_id
    assert pair.behind == [1]


@pytest.mark.usefixtures("server_age")
async def test_by_itself_a_consumer_that_went_back_repeats_nothing(pair: Pair) -> None:
    await pair.start()
    await pair.handled(1, 2, 3)
    assert await pair.rewind(1, run="nobody") == 0
    await eventually(pair.settled)
    await pair.bench.pings(4)
    await eventually(lambda: pair.behind[-1] == 4)
    assert sorted(pair.first) == [1, 2, 3, 4]


async def test_a_handler_without_a_ledger_works_on_everything_again(pair: Pair) -> None:
    await pair.start(ledger=False)
    await pair.handled(1, 2, 3)
    assert await pair.rewind(2) == 0
    await eventually(lambda: sorted(pair.first) == [1, 2, 2, 3, 3])
    await eventually(pair.settled)
    assert sorted(pair.behind) == [1, 2, 3]


async def test_a_consumer_that_began_late_goes_back_behind_its_beginning(pair: Pair) -> None:
    await pair.start()
    await pair.handled(1, 2, 3)
    (place,) = await places(pair.bench.bus, pair.bench.name)
    last = (await pair.bench.stored(Ping))[-1].sequence
    await recreate(pair.bench.bus, place, last)
    await eventually(pair.settled)
    assert (await pair.bench.info())["config"]["opt_start_seq"] == last
    assert await pair.rewind(1) == 3
    await eventually(lambda: sorted(pair.first) == [1, 1, 2, 2, 3, 3])


async def test_what_is_in_hand_is_finished_first(bench: Bench) -> None:
    gate, seen = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        await gate()
        seen.append(received.event.number)

    await bench.work(handle)
    await bench.pings(1)
    await eventually(lambda: gate.waiting == 1)
    going = asyncio.create_task(rewind(bench.bus, bench.name, "TEST", 1, select(bench.bus, Selection(Ping))))
    await eventually(lambda: _paused(bench))
    assert not going.done()
    gate.open()
    assert await going == 1
    await eventually(lambda: seen == [1, 1])
    assert not await _paused(bench)


async def test_what_stays_in_hand_does_not_hold_the_rewinding_for_ever(bench: Bench) -> None:
    gate, seen = Gate(), []

    async def handle(received: Received[Ping]) -> None:
        if received.event.number == 2:
            await gate()
        seen.append(received.event.number)

    await bench.work(handle, concurrency=2)
    await bench.pings(1, 2)
    await eventually(lambda: gate.waiting == 1 and seen == [1])
    again = select(bench.bus, Selection(Ping))
    assert await rewind(bench.bus, bench.name, "TEST", 1, again, patience=0.05) == 1
    await eventually(lambda: seen == [1, 1])
    gate.open()
    await eventually(bench.settled)
    assert seen.count(1) == 2


async def test_a_handler_that_somebody_paused_stays_paused(pair: Pair) -> None:
    await pair.start()
    await pair.handled(1)
    (place,) = await places(pair.bench.bus, pair.bench.name)
    until = (datetime.now(UTC) + timedelta(minutes=5)).replace(microsecond=0)
    await pause(pair.bench.bus, place, until)
    assert await pair.rewind(1) == 1
    (after,) = await places(pair.bench.bus, pair.bench.name)
    assert after.paused_until == until
    assert after.pending == 1


async def test_copies_of_an_earlier_replay_are_not_handled_again(bench: Bench) -> None:
    seen: list[str | None] = []

    async def handle(received: Received[Ping]) -> None:
        seen.append(received.envelope.replay)

    await bench.work(handle)
    await bench.pings(1)
    replay_id = await replay(bench.bus, bench.name, await bench.stored(Ping))
    await eventually(lambda: len(seen) == 2)
    await eventually(bench.settled)
    await rewind(bench.bus, bench.name, "TEST", 1, select(bench.bus, Selection(Ping)))
    await eventually(lambda: len(seen) == 3)
    await eventually(bench.settled)
    assert seen == [None, replay_id, None]


async def _paused(bench: Bench) -> bool:
    (place,) = await places(bench.bus, bench.name)
    return place.paused_until is not None
