"""Which events a replay is about."""

from __future__ import annotations

import json
from typing import Any

from stenobus_bus import Received
from stenobus_bus.envelope import SHADOW
from stenobus_bus.history import Remembered, replay
from stenobus_bus.selection import Selection, select
from stenobus_bus.where import Where
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping
from .conftest import Bench


async def chosen(bench: Bench, *where: str, **more: Any) -> list[Remembered]:
    conditions = tuple(map(Where.parse, where))
    return [message async for message in select(bench.bus, Selection(Ping, where=conditions, **more))]


async def numbers(bench: Bench, *where: str, **more: Any) -> list[int]:
    return [json.loads(message.data)["number"] for message in await chosen(bench, *where, **more)]


async def test_sequences_times_and_a_limit_bound_the_selection(bench: Bench) -> None:
    await bench.pings(1, 2, 3, 4, 5)
    everything = await chosen(bench)
    assert await numbers(bench, from_sequence=2, to_sequence=4) == [2, 3, 4]
    assert await numbers(bench, until=everything[2].time) == [1, 2]
    assert await numbers(bench, since=everything[1].time, until=everything[4].time) == [2, 3, 4]
    assert await numbers(bench, limit=2) == [1, 2]
    assert await numbers(bench, "number > 2", limit=2) == [3, 4]


async def test_conditions_all_hold_whatever_carries_the_payload(bench: Bench) -> None:
    await bench.publish(Ping(number=1, text="a"), run="one")
    await bench.publish(Ping(number=2, text="a" * 2_000_000), run="one")  # its body waits in the object bucket
    structured = {"specversion": "1.0", "id": "3", "source": "acme", "type": "t", "data": {"number": 3, "text": "b"}}
    await bench.raw(json.dumps(structured).encode(), content_type="application/cloudevents+json")
    await bench.raw(b"no JSON", ce_id="4", acme_tenant="north")

    async def sequences(*where: str, **more: Any) -> list[int]:
        return [message.sequence for message in await chosen(bench, *where, **more)]

    assert await sequences("text ~ aa") == [2]
    assert await sequences("text ~ a", "number < 2") == [1]
    assert await sequences("number > 1") == [2, 3]
    assert await sequences("ce-source = acme") == [3]
    assert await sequences("header:acme-tenant = north") == [4]
    assert await sequences("number >= 1", run="one") == [1, 2]
    assert await sequences("number != 1") == [2, 3, 4]


async def test_a_body_that_is_gone_meets_no_condition_and_hides_no_others(bench: Bench) -> None:
    await bench.publish(Ping(number=1, text="a" * 2_000_000))
    await bench.pings(2)
    await bench.bus.api("STREAM.PURGE.OBJ_stenobus")
    assert [message.sequence for message in await chosen(bench, "number > 0")] == [2]


async def test_copies_and_trials_are_no_further_events(bench: Bench) -> None:
    seen: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        seen.append(received.event.number)

    await bench.work(handle)
    await bench.pings(1, 2)
    await replay(bench.bus, bench.name, await chosen(bench))
    await bench.raw(b'{"number": 3}', **{SHADOW: "trial"})
    await eventually(lambda: len(seen) == 5)
    assert [message.sequence for message in await chosen(bench)] == [1, 2]
    assert [message.sequence for message in await chosen(bench, from_sequence=2)] == [2, 3]  # 3 is a copy of 1


async def test_a_replay_reads_its_events_as_it_sends_them(bench: Bench) -> None:
    seen: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        if received.envelope.replay:
            seen.append(received.event.number)

    await bench.work(handle, concurrency=64)
    for first in range(0, 1000, 250):
        posts = [
            await bench.bus.post("test.ping", Ping(number=number).body(), {"ce-id": str(number)})
            for number in range(first, first + 250)
        ]
        for post in posts:
            await post.stored()
    await eventually(bench.settled)
    ahead = 0

    async def reading() -> Any:
        nonlocal ahead
        async for message in select(bench.bus, Selection(Ping)):
            ahead += 1
            if ahead == 500:  # by now the first ones have arrived: they were not all collected first
                await eventually(lambda: seen)
            yield message

    await replay(bench.bus, bench.name, reading())
    await eventually(lambda: sorted(seen) == list(range(1000)))
