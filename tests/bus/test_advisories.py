"""Events that the server gave up on, or that somebody terminated, end as dead letters too."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from stenobus_bus import Bus, Envelope, PermanentError, Received, apply, settle
from stenobus_bus.advisories import STREAM, UNDERTAKER, Undertaker
from stenobus_bus.burial import whereabouts
from stenobus_bus.dead_letters import data
from stenobus_bus.envelope import Delivery
from stenobus_bus.history import read
from stenobus_testing.forgetting import forget_duplicates
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping
from .conftest import Bench

Start = Callable[[], Awaitable[Undertaker]]


async def nobody(*_: Any) -> None:
    """Wants to hear of no letter."""


@pytest.fixture
async def undertaker(bus: Bus) -> AsyncIterator[Start]:
    """Starts undertakers."""
    started: list[Undertaker] = []

    async def start() -> Undertaker:
        started.append(Undertaker(bus, nobody, patrol=0.1))
        await started[-1].start()
        return started[-1]

    yield start
    for each in started:
        await each.stop()


async def take(bench: Bench, count: int = 1) -> list[Msg]:
    """Deliveries in the hands of a client that is no worker."""
    taken: list[Msg] = []

    async def receive(msg: Msg) -> None:
        taken.append(msg)

    inbox = bench.bus.nc.new_inbox()
    await bench.bus.nc.subscribe(inbox, cb=receive)
    query = {"batch": count, "expires": 5_000_000_000}
    await bench.bus.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.TEST.{bench.name}", json.dumps(query).encode(), reply=inbox)
    await eventually(lambda: len(taken) >= count)
    return taken


async def advisories(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(message.data) async for message in read(bench.bus, STREAM, "$JS.EVENT.>")]


async def looked_through(bench: Bench, count: int) -> bool:
    """The undertaker is done with so many advisories."""
    info = await bench.bus.api(f"CONSUMER.INFO.{STREAM}.{UNDERTAKER}")
    return bool(info["ack_floor"]["stream_seq"] >= count and info["num_pending"] == info["num_ack_pending"] == 0)


KILLED = """
import asyncio, os, signal, sys
from stenobus_bus import Bus, ConsumerSpec, RetryPolicy, Worker
from tests.support.contracts import Ping

async def kill(received):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(url, name):
    bus = await Bus.connect(url)
    consumer = ConsumerSpec("TEST", name, "test.ping", ack_wait=1, max_deliver=2)
    await Worker(bus, consumer, Ping, kill, retry=RetryPolicy(attempts=50)).start()
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_event_that_killed_every_process_of_its_handler_is_buried_by_another(
    bench: Bench, undertaker: Start
) -> None:
    root = Path(__file__).parents[2]
    await bench.publish(Ping(number=13, text="ü"), id="deadly", run="run-1")
    url = bench.bus.nc.connected_url.geturl()
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, url, bench.name, cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        assert await process.wait() == -signal.SIGKILL
    await undertaker()
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.handler, letter.reason, letter.attempts) == (bench.name, "undelivered", 2)
    assert letter.message == "the server gave up after 2 deliveries that nobody settled"
    assert (letter.event_id, letter.run, letter.original_subject) == ("deadly", "run-1", "test.ping")
    assert letter.headers["ce-id"] == "deadly"
    assert json.loads(data(letter)) == {"number": 13, "text": "ü"}


async def test_the_patrol_leaves_alone_what_waits_for_its_next_delivery(bench: Bench, undertaker: Start) -> None:
    await apply(bench.bus, [bench.consumer(max_deliver=2)])
    await bench.pings(1, 2)
    await take(bench)  # the process dies with it in hand
    (again,) = await take(bench)
    assert json.loads(again.data)["number"] == 2
    nudges: list[Msg] = []

    async def nudged(msg: Msg) -> None:
        nudges.append(msg)

    await bench.bus.nc.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.TEST.{bench.name}", cb=nudged)
    await undertaker()
    await eventually(lambda: len(nudges) >= 15)  # before and after their time ran out
    counts = [Delivery.of(msg.reply).count for msg in await take(bench, 2)]
    assert counts == [2, 2]
    assert await bench.letters() == await advisories(bench) == []


async def test_what_somebody_else_terminates_is_buried_with_what_they_said(bench: Bench, undertaker: Start) -> None:
    await undertaker()
    await apply(bench.bus, [bench.consumer()])
    await bench.raw(b"\xff\x00", acme="1")
    (msg,) = await take(bench)
    await bench.bus.nc.publish(msg.reply, b"+TERM nobody needs it")
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.attempts) == ("terminated", 1)
    assert letter.message == "another client terminated it: nobody needs it"
    assert (data(letter), letter.headers) == (b"\xff\x00", {"acme": "1"})


async def test_several_undertakers_bury_an_event_once(bench: Bench, undertaker: Start) -> None:
    for _ in range(3):
        await undertaker()
    await apply(bench.bus, [bench.consumer()])
    await bench.pings(*range(20))
    for msg in await take(bench, 20):
        await settle.terminate(bench.bus.nc, msg.reply, "no")
    await eventually(lambda: looked_through(bench, 20))
    assert sorted(json.loads(data(letter))["number"] for _, letter in await bench.letters()) == list(range(20))


async def test_a_handlers_own_terminations_make_no_second_letter_however_late_the_advisory_is_read(
    bench: Bench, undertaker: Start
) -> None:

    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("no")

    await bench.work(handle)
    await bench.pings(1)
    (entry,) = await eventually(bench.letters)
    await eventually(lambda: advisories(bench))
    # Long after: the server knows the letter's id no more, and somebody has dealt with the letter.
    await forget_duplicates(bench.bus, "DLQ")
    await bench.bus.api("STREAM.MSG.DELETE.DLQ", {"seq": entry.sequence})
    await undertaker()
    await eventually(lambda: looked_through(bench, 1))
    assert await bench.letters() == []


async def test_an_event_whose_letter_was_stored_before_its_handler_died_is_not_buried_again(
    bench: Bench, undertaker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("no")

    async def die(*_: Any) -> None:
        """The process ends between the letter and the termination."""

    monkeypatch.setattr(settle, "terminate", die)
    worker = await bench.work(handle, consumer={"max_deliver": 1})
    await bench.pings(1)
    entries = await eventually(bench.letters)
    await worker.stop(grace=0)
    await eventually(lambda: advisories(bench))
    await forget_duplicates(bench.bus, "DLQ")
    await undertaker()
    await eventually(lambda: looked_through(bench, 1))
    assert await bench.letters() == entries


async def test_an_event_whose_effects_are_in_place_is_no_dead_letter(
    bench: Bench, undertaker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> None:
        """No acknowledgement arrives."""

    async def handle(_: Received[Ping]) -> None:
        pass

    monkeypatch.setattr(settle, "acknowledge", lost)
    worker = await bench.work(handle, consumer={"max_deliver": 1})
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)
    await worker.stop(grace=0)
    monkeypatch.undo()
    await eventually(lambda: advisories(bench))
    await undertaker()
    await eventually(lambda: looked_through(bench, 1))
    assert await bench.letters() == []


async def test_an_event_that_is_gone_by_then_is_a_letter_that_says_so(bench: Bench, undertaker: Start) -> None:
    await apply(bench.bus, [bench.consumer()])
    await bench.pings(1)
    (msg,) = await take(bench)
    place = Delivery.of(msg.reply).sequence
    await settle.terminate(bench.bus.nc, msg.reply, "too large")
    await eventually(lambda: advisories(bench))
    await bench.bus.api("STREAM.MSG.DELETE.TEST", {"seq": place})
    await undertaker()
    ((_, letter),) = await eventually(bench.letters)
    assert letter.message == "another client terminated it: too large; by then it was gone from its stream"
    assert (letter.stream, letter.sequence, letter.original_subject) == ("TEST", place, "test.ping")
    assert letter.data is letter.data_base64 is None


async def test_an_event_that_the_dead_letters_refused_until_the_server_gave_up_gets_there_after_all(
    bench: Bench, undertaker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.worker._BUS_TROUBLE_DELAY", 0.01)
    monkeypatch.setattr("stenobus_bus.advisories._BUS_TROUBLE_DELAY", 0.05)
    monkeypatch.setattr("stenobus_bus.connection.Bus.store.__kwdefaults__", {"deadline": 0.05})
    config = (await bench.bus.api("STREAM.INFO.DLQ"))["config"]
    await bench.bus.store("dlq.x", b"", {})
    await bench.bus.api("STREAM.UPDATE.DLQ", {**config, "max_msgs": 1})  # full, and refuses what is new

    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("no")

    await bench.work(handle, consumer={"max_deliver": 2})
    await undertaker()
    await bench.publish(Ping(number=1), id="mine")
    await eventually(lambda: advisories(bench))
    assert await bench.letters() == []
    await bench.bus.api("STREAM.UPDATE.DLQ", {**config, "max_msgs": -1})
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.attempts, letter.event_id) == ("undelivered", 2, "mine")


async def test_strangers_consumers_and_other_handlers_events_are_none_of_our_business(
    bench: Bench, undertaker: Start
) -> None:
    await undertaker()
    spec = bench.consumer()
    stranger = {"durable_name": "stranger", "ack_policy": "explicit", "filter_subject": spec.subject}
    await bench.bus.api("CONSUMER.CREATE.TEST.stranger", {"stream_name": "TEST", "config": stranger})
    await apply(bench.bus, [spec])
    await bench.bus.publish(Ping(number=1), Envelope.new(Ping(number=1), "t"), headers={"stenobus-only": "somebody"})
    (ours,) = await take(bench)
    mine, bench.name = bench.name, "stranger"
    (theirs,) = await take(bench)
    for msg in (ours, theirs):
        await settle.terminate(bench.bus.nc, msg.reply, "no")
    await eventually(lambda: looked_through(bench, 2))
    assert await bench.letters(mine) == await bench.letters("stranger") == []


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"{}",
        b'{"type": "io.nats.jetstream.advisory.v1.terminated", "stream": "a.>", "consumer": "*", "stream_seq": 1}',
        b'{"type": "io.nats.jetstream.advisory.v1.terminated", "stream": "NO", "consumer": "no", "stream_seq": 1}',
        b'{"type": "io.nats.jetstream.advisory.v1.terminated", "stream": "TEST", "consumer": "no", "stream_seq": 9}',
    ],
    ids=["no-json", "empty", "wildcards", "no-stream", "no-consumer"],
)
async def test_garbage_among_the_advisories_stops_nothing(bench: Bench, undertaker: Start, body: bytes) -> None:
    await bench.bus.store("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.TEST.x", body, {})
    await undertaker()
    await apply(bench.bus, [bench.consumer()])
    await bench.pings(1)
    (msg,) = await take(bench)
    await settle.terminate(bench.bus.nc, msg.reply, "no")
    assert await eventually(bench.letters)
    await eventually(lambda: looked_through(bench, 2))


async def test_an_advisory_of_a_place_that_no_stream_has_is_no_reason_to_ask_for_ever(
    bench: Bench, undertaker: Start
) -> None:
    await apply(bench.bus, [bench.consumer()])
    claim = {"type": "io.nats.jetstream.advisory.v1.terminated", "stream": "TEST", "consumer": bench.name}
    body = json.dumps({**claim, "stream_seq": 2**64}).encode()
    await bench.bus.store("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.TEST.x", body, {})
    await undertaker()
    await eventually(lambda: looked_through(bench, 1))
    assert await bench.letters() == []


@pytest.mark.parametrize("end", [b"\xff\xfe", b"a\x0bb", b"a\x0cb", b"a\x00b", b"\xc2\x85"])
async def test_a_subject_that_is_no_text_breaks_no_connection(bench: Bench, undertaker: Start, end: bytes) -> None:
    """NATS takes nearly any bytes for a subject."""
    subject = b"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.TEST." + end
    await bench.bus.nc._send_command(b"PUB %b 7\r\ngarbage\r\n" % subject)
    await bench.bus.nc._send_command(b"HPUB %b 12 19\r\nNATS/1.0\r\n\r\ngarbage\r\n" % subject)
    await bench.bus.nc.flush()
    await undertaker()
    await eventually(lambda: looked_through(bench, 2))
    assert bench.bus.nc.stats["reconnects"] == 0


async def test_a_broken_listener_decides_over_no_letter(bench: Bench) -> None:
    async def broken(*_: Any) -> None:
        raise OSError("no space left on device")

    undertaker = Undertaker(bench.bus, broken)
    await undertaker.start()
    await apply(bench.bus, [bench.consumer()])
    await bench.pings(1)
    (msg,) = await take(bench)
    await settle.terminate(bench.bus.nc, msg.reply, whereabouts("somebody-else", "no"))
    await eventually(lambda: looked_through(bench, 1))
    assert len(await bench.letters()) == 1
    await undertaker.stop()
