"""What a worker says of itself: a healthy one explains why it asks for nothing."""

from __future__ import annotations

from stenobus_bus import RateLimit, Received, TokenBucket, Worker
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Ping
from .conftest import Bench


def word(worker: Worker[Ping]) -> tuple[int, int, int]:
    """Events in hand, asked for, and about to be asked for."""
    return worker.active, worker.asked, worker.room


async def nothing(_: Received[Ping]) -> None:
    """Handle it."""


async def test_at_rest_it_has_asked_and_with_all_hands_full_it_has_no_room(bench: Bench) -> None:
    gate = Gate()

    async def handle(_: Received[Ping]) -> None:
        await gate()

    worker = await bench.work(handle, concurrency=2)
    await eventually(lambda: word(worker) == (0, 2, 0))
    await bench.pings(*range(5))
    await eventually(lambda: word(worker) == (2, 0, 0))
    gate.open()
    await eventually(lambda: worker.handled == 5 and word(worker) == (0, 2, 0))


async def test_one_that_asks_no_more_has_room_and_nothing_asked_for(bench: Bench) -> None:
    worker = await bench.work(nothing, concurrency=2)
    await eventually(lambda: worker.asked == 2)
    worker._loops[0]._tasks[0].cancel()  # the loop that asks dies, and nobody notices
    await bench.pings(*range(5))
    await eventually(lambda: worker.handled == 2)
    await eventually(lambda: word(worker) == (0, 0, 2))
    assert (await bench.info())["num_pending"] == 3


async def test_one_that_waits_for_a_token_has_an_event_in_hand_and_no_room(bench: Bench) -> None:
    bucket = TokenBucket(bench.bus, bench.name, RateLimit(per_minute=1, burst=1))
    worker = await bench.work(nothing, concurrency=3, rate=bucket)
    await bench.pings(*range(5))
    await eventually(lambda: worker.handled == 1)
    await eventually(lambda: word(worker) == (1, 0, 0))
    assert (await bench.info())["num_pending"] == 3


async def test_one_whose_share_of_the_fleet_others_have_has_no_room(bench: Bench) -> None:
    first = await bench.work(nothing, fleet_concurrency=1)
    await eventually(lambda: first.asked == 1)
    second = await bench.work(nothing, fleet_concurrency=1)
    assert word(second) == (0, 0, 0)


async def test_one_whose_consumer_is_gone_has_no_room_until_it_is_there_again(bench: Bench) -> None:
    worker = await bench.work(nothing)
    await eventually(lambda: word(worker) == (0, 1, 0))
    config = (await bench.bus.api("STREAM.INFO.TEST"))["config"]
    await bench.bus.api("STREAM.DELETE.TEST")
    await eventually(lambda: not worker.healthy)
    assert word(worker) == (0, 0, 0)
    await bench.bus.api("STREAM.CREATE.TEST", config)
    await eventually(lambda: word(worker) == (0, 1, 0))
