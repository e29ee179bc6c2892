"""Dead letters are counted, chosen, and retried once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stenobus_bus import Delivery, PermanentError, Received, burial
from stenobus_bus.dead_letters import Choice, Entry, choose, find, groups, purge, remove
from stenobus_bus.history import Remembered, ahead, read
from stenobus_bus.retries import retry
from stenobus_contracts import DeadLetter
from stenobus_testing.forgetting import forget_duplicates
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping
from .conftest import Bench


class Patient:
    """A handler that gives up on every number until it is well, and on negative ones for ever."""

    def __init__(self) -> None:
        self.well = False
        self.seen: list[int] = []

    async def __call__(self, received: Received[Ping]) -> None:
        if not self.well or received.event.number < 0:
            raise PermanentError("broken")
        self.seen.append(received.event.number)


async def test_a_retry_that_ended_before_its_letter_was_removed_runs_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.pings(1)
    (entry,) = await eventually(bench.letters)
    patient.well = True

    async def die(*_: Any) -> None:
        raise ConnectionError("the process ends between the two steps")

    with monkeypatch.context() as patch:
        patch.setattr("stenobus_bus.retries.remove", die)
        with pytest.raises(ConnectionError):
            await retry(bench.bus, entry)
    assert await bench.letters() == [entry]
    again = await retry(bench.bus, entry)
    assert again.duplicate
    assert await bench.letters() == []
    await eventually(bench.settled)
    assert patient.seen == [1]


async def test_a_retry_repeated_long_after_the_server_forgot_it_runs_once(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.pings(1)
    (entry,) = await eventually(bench.letters)
    patient.well = True
    await retry(bench.bus, entry)
    await forget_duplicates(bench.bus, "TEST")
    assert not (await retry(bench.bus, entry)).duplicate
    await eventually(bench.settled)
    assert patient.seen == [1]


async def test_two_people_who_retry_the_same_letter_retry_it_once(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.pings(*range(10))
    entries = await eventually(lambda: _when(bench, 10))
    patient.well = True
    await asyncio.gather(*(retry(bench.bus, entry) for entry in entries * 2))
    await eventually(bench.settled)
    assert sorted(patient.seen) == list(range(10))
    assert await bench.letters() == []


async def _when(bench: Bench, count: int) -> list[Entry]:
    found = await bench.letters()
    return found if len(found) == count else []


async def test_an_edited_retry_is_an_attempt_of_its_own_and_says_what_was_edited(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.publish(Ping(number=-1), id="mine", run="r")
    (entry,) = await eventually(bench.letters)
    patient.well = True
    stored = await retry(bench.bus, entry, b'{"number": 2}')
    await eventually(lambda: patient.seen == [2])
    *_, again = await bench.stored(Ping)
    assert (again.sequence, again.event_id, again.run) == (stored.sequence, "mine", "r")
    assert again.headers["stenobus-retry"] == f"DLQ/{entry.sequence}"
    assert again.headers["stenobus-edited"].startswith("sha256:")
    assert again.headers["stenobus-replay"] != ""


async def test_a_large_edit_travels_by_reference_and_a_small_one_sheds_the_old_reference(bench: Bench) -> None:
    seen: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        if received.event.number < 0:
            raise PermanentError("broken")
        seen.append(len(received.event.text))

    await bench.work(handle)
    await bench.publish(Ping(number=-1, text="x" * 300_000))
    (entry,) = await eventually(bench.letters)
    await retry(bench.bus, entry, json.dumps({"number": -2, "text": "x" * 400_000}).encode())
    (again,) = await eventually(lambda: _after(bench, entry))
    await retry(bench.bus, again, b'{"number": 3, "text": "short"}')
    await eventually(lambda: seen == [5])


async def _after(bench: Bench, entry: Entry) -> list[Entry]:
    return [later for later in await bench.letters() if later.sequence > entry.sequence]


async def test_a_structured_event_without_a_content_type_survives_its_retry(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.raw(b'{"specversion": "1.0", "id": "i", "source": "s", "type": "t", "data": {"number": 4}}')
    (entry,) = await eventually(bench.letters)
    patient.well = True
    await retry(bench.bus, entry)
    await eventually(lambda: patient.seen == [4])
    assert await bench.letters() == []


async def test_bytes_in_headers_that_are_no_text_reach_the_dead_letters_and_come_back(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    header = b"NATS/1.0\r\nacme: \xff\xfe\r\nplain: 1\r\n\r\n"
    body = b'{"number": 5}'
    nc = bench.bus.nc
    await nc._send_command(
        b"HPUB test.ping %d %d\r\n" % (len(header), len(header) + len(body)) + header + body + b"\r\n"
    )
    (entry,) = await eventually(bench.letters)
    patient.well = True
    await retry(bench.bus, entry)
    await eventually(lambda: patient.seen == [5])


async def test_a_letter_that_somebody_else_removed_is_removed(bench: Bench) -> None:
    await bench.work(Patient())
    await bench.pings(1)
    (entry,) = await eventually(bench.letters)
    await remove(bench.bus, entry)
    await remove(bench.bus, entry)
    assert await find(bench.bus, entry.sequence) is None


async def test_groups_are_counted_by_the_server_and_only_the_newest_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.work(Patient())
    await bench.pings(*range(30))
    await bench.raw(b"no ping")
    await eventually(lambda: _when(bench, 31))
    read: list[int] = []
    validate = DeadLetter.model_validate_json

    def count(*arguments: Any) -> DeadLetter:
        read.append(1)
        return validate(*arguments)

    monkeypatch.setattr(DeadLetter, "model_validate_json", count)
    permanent, invalid = await groups(bench.bus, Choice(bench.name), newest=3)
    assert (permanent.reason, permanent.count, len(permanent.newest)) == ("permanent", 30, 3)
    assert (invalid.reason, invalid.count, len(invalid.newest)) == ("invalid", 1, 1)
    assert len(read) == 4
    assert permanent.oldest <= (
        await anext(choose(bench.bus, Choice(bench.name)))
    ).letter.failed_at.__class__.max.replace(tzinfo=permanent.oldest.tzinfo)


async def test_what_is_stored_from_a_place_on_is_counted(bench: Bench) -> None:
    await bench.pings(1, 2, 3)
    await bench.raw(b"{}", "test.pong")
    first = await ahead(bench.bus, "TEST", "test.ping")
    assert first.first is not None
    assert (first.count, first.first.sequence) == (3, 1)
    assert (await ahead(bench.bus, "TEST", "test.ping", from_sequence=3)).count == 1
    assert (await ahead(bench.bus, "TEST", "test.ping", from_sequence=4)).count == 0
    assert (await ahead(bench.bus, "TEST", "test.*", since=first.first.time)).count == 4


async def test_a_purge_leaves_what_came_after_it_was_chosen(bench: Bench) -> None:
    patient = Patient()
    await bench.work(patient)
    await bench.pings(1, 2)
    one, two = await eventually(lambda: _when(bench, 2))
    assert await purge(bench.bus, Choice(bench.name, until=two.letter.failed_at, since=one.letter.failed_at)) <= 2
    await bench.pings(3)
    await eventually(lambda: _after(bench, two))
    assert await purge(bench.bus, Choice(bench.name)) >= 1
    assert await bench.letters() == []


async def test_the_book_of_letters_reads_none_older_than_the_event_and_each_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    async def counted(*place: Any, **choice: Any) -> AsyncIterator[Remembered]:
        async for message in read(*place, **choice):
            seen.append(message.sequence)
            yield message

    async def letter(delivery: Delivery) -> int:
        body = {"Nats-Msg-Id": f"dlq/{bench.name}/TEST/{delivery.sequence}/{delivery.timestamp}"}
        return (await bench.bus.store(f"dlq.{bench.name}.permanent", b"{}", body)).sequence

    async def event() -> Delivery:
        await bench.pings(1)
        message = (await bench.stored(Ping))[-1]
        return Delivery("TEST", bench.name, 1, message.sequence, message.timestamp, 0)

    monkeypatch.setattr(burial, "read", counted)
    monkeypatch.setattr(burial, "_MARGIN", 0)
    first = await event()
    old = await letter(first)
    second = await event()
    new = await letter(second)
    book = burial.LetterBook(bench.bus)
    assert await book.holds(bench.name, second)
    assert await book.holds(bench.name, second)
    assert seen == [new]
    assert await book.holds(bench.name, first)  # older than what was read
    assert seen == [new, old, new]
    gone = Delivery("TEST", bench.name, 1, first.sequence, 0, 0)
    assert await book.holds(bench.name, gone)
    assert not await book.holds(bench.name, Delivery("TEST", bench.name, 1, second.sequence + 1, 0, 0))
    monkeypatch.setattr(burial, "_MEMORY", 0)
    third = await event()
    await letter(third)
    assert await book.holds(bench.name, third)
    assert [len(known.ids) for known in book._known.values()] == [1]
