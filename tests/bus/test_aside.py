"""An event that is set aside from outside its handler: a dead letter, and no more deliveries."""

from __future__ import annotations

import json

from nats.aio.msg import Msg

from stenobus_bus import Bus, Received, apply
from stenobus_bus.advisories import STREAM, Undertaker
from stenobus_bus.aside import set_aside
from stenobus_bus.dead_letters import data
from stenobus_bus.history import read
from stenobus_bus.retries import retry
from stenobus_testing.forgetting import forget_duplicates
from stenobus_testing.waiting import eventually, still

from ..support.contracts import Ping
from .conftest import Bench


async def take(bench: Bench) -> list[Msg]:
    """A delivery in the hands of a client that never settles it."""
    taken: list[Msg] = []

    async def receive(msg: Msg) -> None:
        taken.append(msg)

    inbox = bench.bus.nc.new_inbox()
    await bench.bus.nc.subscribe(inbox, cb=receive)
    query = {"batch": 1, "expires": 5_000_000_000}
    await bench.bus.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.TEST.{bench.name}", json.dumps(query).encode(), reply=inbox)
    await eventually(lambda: taken)
    return taken


async def test_its_deliveries_end_for_this_handler_alone(bench: Bench, bus: Bus) -> None:
    other = f"{bench.name}-b"
    await apply(bus, [bench.consumer(ack_wait=30), bench.consumer(name=other)])
    await bench.pings(1, 2)
    await take(bench)
    await take(bench)
    first, second = await bench.stored(Ping)
    assert await bench.unacknowledged() == 2
    await set_aside(bus, bench.name, first, 3, "it kills")
    info = await bench.info()
    assert (info["num_ack_pending"], info["ack_floor"]["stream_seq"]) == (1, first.sequence)

    async def advised() -> list[str]:
        return [json.loads(each.data).get("reason", "") async for each in read(bus, STREAM, ">")]

    assert await eventually(advised) == [f"terminated: see dlq.{bench.name}"], "it was ended, not settled as done"
    (entry,) = await bench.letters()
    letter = entry.letter
    assert (letter.reason, letter.attempts, letter.message) == ("terminated", 3, "it kills")
    assert (letter.event_id, letter.run, data(letter)) == (first.event_id, first.run, first.data)
    assert await bench.stored(Ping) == [first, second], "history keeps it"
    assert (await bench.info(other))["num_pending"] == 2, "other handlers get it"

    seen: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        seen.append(received.event.number)

    await retry(bus, entry)
    await bench.work(handle)
    await eventually(lambda: 1 in seen)
    assert await bench.letters() == []


async def test_twice_is_once_and_the_undertaker_leaves_it_alone(bench: Bench, bus: Bus) -> None:
    async def nobody(*_: object) -> None:
        buried.append(1)

    buried: list[int] = []
    await apply(bus, [bench.consumer(ack_wait=30)])
    await bench.pings(1)
    await take(bench)
    (message,) = await bench.stored(Ping)
    undertaker = Undertaker(bus, nobody)
    await undertaker.start()
    await set_aside(bus, bench.name, message, 3, "it kills")
    await forget_duplicates(bus, "DLQ")  # which would store the letter again under its id
    await still(lambda: not buried, 0.5)
    await set_aside(bus, bench.name, message, 3, "it kills")
    await undertaker.stop()
    assert len(await bench.letters()) == 1


async def test_an_event_that_was_never_delivered_or_is_settled_stays_as_it_is(bench: Bench, bus: Bus) -> None:
    await apply(bus, [bench.consumer()])
    await bench.pings(1)
    (message,) = await bench.stored(Ping)
    await set_aside(bus, bench.name, message, 1, "too early")
    info = await bench.info()
    assert (info["num_pending"], info["num_ack_pending"]) == (1, 0)
