"""How a delivery ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Observer, Observers, PermanentError, Received, RetryableError, RetryPolicy
from stenobus_bus.dead_letters import Entry, data
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping, Pong
from .conftest import Bench


async def test_a_handled_event_is_acknowledged(bench: Bench) -> None:
    handled: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        handled.append(received.event.number)

    worker = await bench.work(handle)
    await bench.pings(1, 2, 3)
    await eventually(lambda: worker.handled == 3)
    assert handled == [1, 2, 3]
    await eventually(bench.settled)


async def test_a_failed_attempt_is_repeated_with_growing_delay(bench: Bench) -> None:
    times: list[float] = []
    attempts: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        times.append(asyncio.get_running_loop().time())
        attempts.append(received.attempt)
        if received.attempt < 4:
            raise ValueError("not yet")

    worker = await bench.work(handle, retry=RetryPolicy(attempts=5, base=0.1))
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)
    assert attempts == [1, 2, 3, 4]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))
    assert not await bench.letters()


@pytest.mark.parametrize("attempt", [1, 2, 3, 8, 50])
def test_delays_grow_to_their_cap_and_never_vanish(attempt: int) -> None:
    policy = RetryPolicy(base=1, cap=60)
    wait = min(60.0, 2.0 ** (attempt - 1))
    assert all(wait / 2 <= policy.delay(attempt) <= wait for _ in range(50))


async def test_a_handler_may_choose_its_delay_even_none_at_all(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None:
        if received.attempt == 1:
            raise RetryableError("at once, please", delay=0)

    worker = await bench.work(handle, retry=RetryPolicy(base=600, cap=600))
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)


async def test_exhausted_events_become_dead_letters_with_everything_to_understand_them(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None:
        raise ValueError("the disk is full")

    await bench.work(handle, retry=RetryPolicy(attempts=3, base=0.01))
    await bench.publish(Ping(number=7, text="ü"), run="run-1", id="id-1")
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.attempts, letter.error) == ("exhausted", 3, "ValueError")
    assert letter.message == "the disk is full"
    assert "in handle" in (letter.traceback or "")
    assert (letter.event_id, letter.run, letter.original_subject) == ("id-1", "run-1", "test.ping")
    assert json.loads(data(letter)) == {"number": 7, "text": "ü"}
    assert letter.headers["ce-id"] == "id-1"
    await eventually(bench.settled)


async def test_a_permanent_error_is_not_tried_again(bench: Bench) -> None:
    attempts: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        attempts.append(received.attempt)
        raise PermanentError("there is no such recording")

    await bench.work(handle)
    await bench.pings(1)
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.attempts, attempts) == ("permanent", 1, [1])
    await eventually(bench.settled)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[1]", "should be an object"),
        (b'{"number": "many"}', "test.ping: number:"),
        (b'{"text": "no number"}', "test.ping: number: Field required"),
        (b'{"number": 1, "text": "\xff\xfe"}', "Invalid JSON"),
        (b"\x00\x01\x02", "Invalid JSON"),
        (b"[" * 200_000, "nested more than 64 levels"),
        (b'{"specversion": "1.0", "data": ' + b"[" * 100_000, "test.ping"),
        (b'{"specversion": "1.0", "id": "\\ud800", "source": "x", "data": {"number": 1}}', "test.ping"),
    ],
    ids=["cut", "empty", "list", "type", "missing", "bytes", "binary", "deep", "deep-structured", "half-character"],
)
async def test_what_breaks_the_contract_is_buried_at_once_with_its_bytes(
    bench: Bench, body: bytes, message: str
) -> None:
    async def handle(received: Received[Ping]) -> None:
        raise AssertionError("never called")

    await bench.work(handle)
    await bench.raw(body)
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.error, letter.attempts) == ("invalid", "InvalidPayload", 1)
    assert message in letter.message
    assert data(letter) == body
    await eventually(bench.settled)


async def test_garbage_in_headers_harms_nobody(bench: Bench) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> tuple[Pong]:
        numbers.append(received.event.number)
        return (Pong(number=received.event.number),)

    worker = await bench.work(handle)
    header = (
        b"NATS/1.0\r\nce-id: \xff\xfe\xfd\r\nce-time: never\r\ntraceparent: 00-zz\r\nce-correlationid: a b.>*\r\n\r\n"
    )
    body = b'{"number": 1}'
    bus = bench.bus.nc
    await bus._send_command(
        b"HPUB test.ping %d %d\r\n" % (len(header), len(header) + len(body)) + header + body + b"\r\n"
    )
    await bus.flush()
    await eventually(lambda: worker.handled == 1)
    (pong,) = await bench.stored(Pong)
    assert numbers == [1]
    assert not set(" .*>") & set(pong.run)


@pytest.mark.parametrize("line", [b"NATS/1.0 \xff\xff\xff", b"NATS/1.0 404 \xff", b"NATS/1.0", b"\xff"])
async def test_a_header_block_that_is_none_breaks_no_connection(bench: Bench, line: bytes) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    await bench.work(handle)
    header, body = line + b"\r\n\r\n", b'{"number": 1}'
    command = b"HPUB test.ping %d %d\r\n" % (len(header), len(header) + len(body))
    await bench.bus.nc._send_command(command + header + body + b"\r\n")
    await bench.pings(2)
    await eventually(lambda: numbers == [1, 2])
    assert bench.bus.nc.stats["reconnects"] == 0


async def test_poison_never_stops_the_events_behind_it(bench: Bench) -> None:
    handled: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        if received.event.number < 0:
            raise PermanentError("poison")
        if received.event.number == 0:
            raise ValueError("again and again")
        handled.append(received.event.number)

    await bench.work(handle, concurrency=1, retry=RetryPolicy(attempts=3, base=0.05))
    await bench.raw(b"poison")
    await bench.pings(-1, 0, 1, 2, 3)
    await eventually(lambda: handled == [1, 2, 3])
    entries = await eventually(lambda: _when(bench, 3))
    assert [entry.letter.reason for entry in entries] == ["invalid", "permanent", "exhausted"]
    await eventually(bench.settled)


async def _when(bench: Bench, count: int) -> list[Any]:
    found = await bench.letters()
    return found if len(found) == count else []


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(bench: Bench) -> None:
    cancelled: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(received.attempt)
            raise

    await bench.work(handle, timeout=0.05, retry=RetryPolicy(attempts=2, base=0.01))
    await bench.pings(1)
    ((_, letter),) = await eventually(bench.letters)
    assert cancelled == [1, 2]
    assert (letter.reason, letter.message) == ("exhausted", "the handler took longer than its 0.05 s")


async def test_a_timeout_inside_the_handler_is_its_own_error(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None:
        raise TimeoutError("the printer does not answer")

    await bench.work(handle, retry=RetryPolicy(attempts=1))
    await bench.pings(1)
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.error, letter.message) == ("TimeoutError", "the printer does not answer")


@pytest.mark.parametrize("ending", [asyncio.CancelledError(), SystemExit(3)], ids=["cancelled", "exit"])
async def test_a_handler_that_ends_itself_ends_neither_its_worker_nor_the_process(
    bench: Bench, ending: BaseException
) -> None:
    async def handle(received: Received[Ping]) -> None:
        if received.event.number == 1:
            raise ending

    worker = await bench.work(handle, concurrency=1, retry=RetryPolicy(attempts=2, base=0.01))
    await bench.pings(1, 2)
    ((_, letter),) = await eventually(bench.letters)
    await eventually(lambda: worker.handled == 1)
    assert (letter.reason, letter.attempts) == ("exhausted", 2)
    assert type(ending).__name__ in letter.message


@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_that_cancels_its_own_task_ends_its_attempt_alone(bench: Bench, waits: bool) -> None:
    async def handle(received: Received[Ping]) -> None:
        if received.event.number == 1:
            task = asyncio.current_task()
            assert task
            task.cancel()
            if waits:
                await asyncio.Event().wait()

    worker = await bench.work(handle, concurrency=1, retry=RetryPolicy(attempts=2, base=0.01))
    await bench.pings(1, 1, 2)
    await eventually(lambda: worker.handled == 1)
    assert [letter.reason for _, letter in await eventually(lambda: _all(bench, 2))] == ["exhausted"] * 2
    assert worker.healthy


async def _all(bench: Bench, count: int) -> list[Entry]:
    found = await bench.letters()
    return found if len(found) == count else []


async def test_an_error_text_that_is_no_unicode_still_reaches_the_dead_letters(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None:
        raise PermanentError(f"cannot read {os.fsdecode(b'caf' + bytes([0xE9]))}")

    await bench.work(handle)
    await bench.pings(1)
    ((_, letter),) = await eventually(bench.letters)
    assert letter.message.startswith("cannot read caf")


async def test_a_dead_letter_is_stored_before_the_original_is_terminated(bench: Bench) -> None:
    order: list[str] = []

    async def stored(_: Any) -> None:
        order.append("letter")

    async def terminated(msg: Any) -> None:
        order.append(json.loads(msg.data)["reason"])

    await bench.bus.nc.subscribe(f"dlq.{bench.name}.permanent", cb=stored)
    await bench.bus.nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.TEST.{bench.name}", cb=terminated)

    async def handle(received: Received[Ping]) -> None:
        raise PermanentError("no")

    await bench.work(handle)
    await bench.pings(1)
    await eventually(lambda: len(order) == 2)
    assert order == ["letter", f"permanent: see dlq.{bench.name}"]


async def test_without_its_dead_letter_an_event_is_never_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.worker._BUS_TROUBLE_DELAY", 0.05)
    monkeypatch.setattr("stenobus_bus.connection.Bus.store.__kwdefaults__", {"deadline": 0.05})
    config = (await bench.bus.api("STREAM.INFO.DLQ"))["config"]
    await bench.bus.api("STREAM.DELETE.DLQ")
    calls: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        calls.append(received.attempt)
        raise PermanentError("no")

    await bench.work(handle)
    await bench.pings(1)
    await eventually(lambda: len(calls) >= 2)
    await bench.bus.api("STREAM.CREATE.DLQ", config)
    ((_, letter),) = await eventually(bench.letters)
    assert letter.reason == "permanent"
    await eventually(bench.settled)


class Broken(Observer):
    """An observer whose store is out of order."""

    async def before(self, *_: Any) -> None:
        raise OSError("no space left on device")

    succeeded = failed = buried = before


async def test_a_broken_observer_decides_over_no_event(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> tuple[Pong] | None:
        if received.event.number == 1:
            raise ValueError("no")
        return (Pong(number=received.event.number),)

    worker = await bench.work(handle, observer=Broken(), ledger=False, retry=RetryPolicy(attempts=2, base=0.01))
    await bench.pings(1, 2)
    await eventually(lambda: worker.handled == 1)
    ((_, letter),) = await eventually(bench.letters)
    assert (letter.reason, letter.message) == ("exhausted", "no")
    await eventually(bench.settled)
    assert len(await bench.stored(Pong)) == 1


class Listening(Observer):
    """An observer that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def before(self, received: Received[Any]) -> None:
        self.heard.append(f"before {received.attempt}")

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        self.heard.append("succeeded")

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        self.heard.append("failed")


async def test_several_observers_hear_everything_even_behind_a_broken_one(bench: Bench) -> None:
    async def handle(received: Received[Ping]) -> None:
        if received.attempt == 1:
            raise ValueError("no")

    first, last = Listening(), Listening()
    worker = await bench.work(handle, observer=Observers(first, Broken(), last))
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)
    assert first.heard == last.heard == ["before 1", "failed", "before 2", "succeeded"]


CRASHER = """
import asyncio, os, sys
from stenobus_bus import Bus, ConsumerSpec, RetryPolicy, Worker
from tests.support.contracts import Ping

async def crash(received):
    if received.event.number == 13:
        os._exit(9)
    return ()

async def main(url, name):
    bus = await Bus.connect(url)
    consumer = ConsumerSpec("TEST", name, "test.ping", ack_wait=1)
    await Worker(bus, consumer, Ping, crash, retry=RetryPolicy(attempts=2)).start()
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_event_that_kills_its_process_again_and_again_ends_as_crashed(bench: Bench) -> None:
    root = Path(__file__).parents[2]
    await bench.pings(13, 14)
    url = bench.bus.nc.connected_url.geturl()
    codes: list[int] = []
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CRASHER, url, bench.name, cwd=root,
            env=os.environ | {"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        found = asyncio.create_task(eventually(bench.letters))
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({found, ended}, return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        else:
            codes.append(process.returncode)
            found.cancel()
    ((_, letter),) = await bench.letters()
    assert codes == [9, 9]
    assert (letter.reason, letter.attempts) == ("crashed", 2)
    assert "the process ended 2 times" in letter.message
