"""What the streams remember, dead letters, and handing both to a handler again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import Bus, Envelope, PermanentError, PublishFailed, Received, ServerUnavailable
from stenobus_bus.dead_letters import data, letters, remove
from stenobus_bus.history import Remembered, read, replay
from stenobus_bus.retries import retry
from stenobus_contracts import DeadLetter
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping, Pong
from .conftest import Bench


async def history(bus: Bus, **more: Any) -> list[Remembered]:
    return [message async for message in read(bus, "TEST", "test.ping", **more)]


async def test_history_is_read_in_order_and_whole(bench: Bench) -> None:
    envelope = Envelope.new(Ping(number=0), "test")
    await asyncio.gather(
        *(bench.bus.store("test.ping", Ping(number=n).body(), {"ce-id": f"{envelope.id}-{n}"}) for n in range(700))
    )
    found = await history(bench.bus)  # more than one batch
    assert [message.sequence for message in found] == list(range(1, 701))
    assert {message.event_id for message in found} == {f"{envelope.id}-{n}" for n in range(700)}


async def test_history_ends_where_it_was_when_the_reading_began(bench: Bench) -> None:
    await bench.pings(1, 2)
    numbers = []
    async for message in read(bench.bus, "TEST", "test.ping"):
        numbers.append(message.sequence)
        await bench.pings(3)
    assert numbers == [1, 2]


async def test_history_filters_by_subject_sequence_time_and_run(bench: Bench) -> None:
    await bench.publish(Ping(number=1), run="one")
    await bench.publish(Pong(number=1), run="one")
    await bench.publish(Ping(number=2), run="two")
    await bench.publish(Ping(number=3), run="one")
    everything = await history(bench.bus)
    assert [message.sequence for message in everything] == [1, 3, 4]
    assert [message.sequence for message in await history(bench.bus, from_sequence=2)] == [3, 4]
    assert [message.sequence for message in await history(bench.bus, run="one")] == [1, 4]
    last = everything[-1].time
    assert [message.sequence for message in await history(bench.bus, since=last)] == [4]
    assert [m.sequence for m in await history(bench.bus, since=everything[0].time, from_sequence=2)] == [3, 4]
    assert await history(bench.bus, since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert abs((last - datetime.now(UTC)).total_seconds()) < 5
    everywhere = [message.subject async for message in read(bench.bus, "TEST", "test.>")]
    assert everywhere == ["test.ping", "test.pong", "test.ping", "test.ping"]


async def test_deleted_messages_are_no_end(bench: Bench) -> None:
    await bench.pings(1, 2, 3)
    await bench.bus.api("STREAM.MSG.DELETE.TEST", {"seq": 2})
    assert [message.sequence for message in await history(bench.bus)] == [1, 3]


async def test_a_stream_that_is_not_there_is_no_empty_history(bus: Bus) -> None:
    with pytest.raises(ServerUnavailable):
        await history_of(bus, "NOSUCH")
    config = (await bus.api("STREAM.INFO.TEST"))["config"]
    await bus.api("STREAM.UPDATE.TEST", {**config, "allow_direct": False})
    with pytest.raises(ServerUnavailable, match="The stream TEST does not answer"):
        await history(bus)


async def history_of(bus: Bus, stream: str) -> list[Remembered]:
    return [message async for message in read(bus, stream, "test.ping")]


class Team:
    """Two handlers of one subject, and one behind the first of them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.seen: list[tuple[str, int, str | None, str]] = []

    async def start(self) -> None:
        await self.bench.work(self.handler("first", Pong), name=f"{self.bench.name}-first")
        await self.bench.work(self.handler("other"), name=f"{self.bench.name}-other")
        await self.bench.work(self.handler("behind"), Pong, name=f"{self.bench.name}-behind")

    def handler(self, who: str, output: type[Pong] | None = None) -> Any:
        async def handle(received: Received[Any]) -> tuple[Pong] | None:
            envelope = received.envelope
            self.seen.append((who, received.event.number, envelope.replay, envelope.id))
            return (output(number=received.event.number),) if output else None

        return handle

    def who(self, replay_id: str | None) -> list[str]:
        return sorted(f"{who}{number}" for who, number, replay, _ in self.seen if replay == replay_id)

    async def settled(self) -> bool:
        names = ("first", "other", "behind")
        return all([await self.bench.settled(f"{self.bench.name}-{name}") for name in names])


async def test_a_replay_is_for_one_handler_and_those_behind_it(bench: Bench) -> None:
    team = Team(bench)
    await team.start()
    await bench.publish(Ping(number=1), run="one")
    await bench.raw(b'{"number": 2}')  # no id: it keeps the derived one
    await eventually(lambda: len(team.seen) == 6)
    replay_id = await replay(bench.bus, f"{bench.name}-first", await history(bench.bus))
    await eventually(lambda: len(team.who(replay_id)) == 4)
    await eventually(team.settled)
    assert team.who(replay_id) == ["behind1", "behind2", "first1", "first2"]
    assert len(team.seen) == 10
    ids = {(who, number): {i for w, n, _, i in team.seen if (w, n) == (who, number)} for who, number, _, _ in team.seen}
    assert all(len(same) == 1 for same in ids.values())  # the same events again, under the same ids
    pongs = await bench.stored(Pong)
    assert len(pongs) == 4  # the outputs of a replay are not taken for duplicates
    assert len({pong.run for pong in pongs}) == 2


async def test_a_second_replay_runs_again(bench: Bench) -> None:
    team = Team(bench)
    await team.start()
    await bench.publish(Ping(number=1))
    await eventually(lambda: len(team.seen) == 3)
    originals = await history(bench.bus)
    one = await replay(bench.bus, f"{bench.name}-first", originals)
    two = await replay(bench.bus, f"{bench.name}-first", originals)
    await eventually(lambda: team.who(one) == team.who(two) == ["behind1", "first1"])


async def test_a_replay_keeps_apart_what_shares_an_id(bench: Bench) -> None:
    numbers: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        numbers.append(received.event.number)

    await bench.work(handle)
    for number, source in ((1, "a"), (2, "b")):
        envelope = Envelope.new(Ping(number=number), source, id="same")
        await bench.bus.publish(Ping(number=number), envelope, headers={"Nats-Msg-Id": source})
    await eventually(lambda: len(numbers) == 2)
    await replay(bench.bus, bench.name, await history(bench.bus))
    await eventually(lambda: sorted(numbers) == [1, 1, 2, 2])


async def test_the_marks_of_an_earlier_copy_do_not_stick(bench: Bench) -> None:
    envelopes: list[Envelope] = []

    async def handle(received: Received[Ping]) -> None:
        envelopes.append(received.envelope)

    await bench.work(handle)
    marks = {"Stenobus-Shadow": "trial", "Stenobus-Only": "another", "Stenobus-Replay": "earlier"}
    await bench.bus.store("test.ping", b'{"number": 1}', {"ce-id": "1", **marks})
    replay_id = await replay(bench.bus, bench.name, await history(bench.bus))
    (envelope,) = await eventually(lambda: envelopes)
    assert (envelope.id, envelope.shadow, envelope.replay) == ("1", None, replay_id)


@pytest.mark.parametrize("headers", [{"content_type": "application/cloudevents+json"}, {}], ids=["said", "found"])
async def test_a_structured_event_replays_in_its_own_run(bench: Bench, headers: dict[str, str]) -> None:
    envelopes: list[Envelope] = []

    async def handle(received: Received[Ping]) -> None:
        envelopes.append(received.envelope)

    await bench.work(handle)
    event = {"specversion": "1.0", "id": "1", "source": "x", "correlationid": "r", "type": "t", "data": {"number": 1}}
    await bench.raw(json.dumps(event).encode(), **headers)
    await eventually(lambda: len(envelopes) == 1)
    await replay(bench.bus, bench.name, await history(bench.bus, run="r"))
    await eventually(lambda: len(envelopes) == 2)
    first, second = envelopes
    assert (first.id, first.source, first.run) == (second.id, second.source, second.run) == ("1", "x", "r")


# --- dead letters ----------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_retried_by_the_handler_that_gave_up_and_by_nobody_else(bench: Bench) -> None:
    seen: list[tuple[str, int, int]] = []
    broken = True

    def handler(name: str) -> Any:
        async def handle(received: Received[Ping]) -> tuple[Pong] | None:
            seen.append((name, received.event.number, received.attempt))
            if name == "one" and broken:
                raise PermanentError("broken")
            return (Pong(number=received.event.number),) if name == "one" else None

        return handle

    await bench.work(handler("one"), name=f"{bench.name}-1")
    await bench.work(handler("two"), name=f"{bench.name}-2")
    await bench.publish(Ping(number=1), id="mine", run="my-run")
    (entry,) = await eventually(lambda: bench.letters(f"{bench.name}-1"))
    await eventually(lambda: len(seen) == 2)
    broken = False
    await retry(bench.bus, entry)
    await eventually(lambda: bench.settled(f"{bench.name}-1"))
    await eventually(lambda: bench.settled(f"{bench.name}-2"))
    assert sorted(seen) == [("one", 1, 1), ("one", 1, 1), ("two", 1, 1)]
    assert await bench.letters(f"{bench.name}-1") == []
    (pong,) = await bench.stored(Pong)
    assert (pong.run, pong.attributes["causationid"]) == ("my-run", "mine")


async def test_a_retry_that_fails_again_is_a_dead_letter_again_and_can_be_retried_again(bench: Bench) -> None:
    attempts: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        attempts.append(received.attempt)
        if len(attempts) < 3:
            raise PermanentError("broken")

    await bench.work(handle)
    await bench.publish(Ping(number=1), id="mine")
    for tries in (1, 2):
        await eventually(lambda: len(attempts) == tries)  # noqa: B023
        (entry,) = await eventually(bench.letters)
        assert entry.letter.event_id == "mine"
        await retry(bench.bus, entry)
    await eventually(lambda: len(attempts) == 3)
    await eventually(bench.settled)
    assert await bench.letters() == []


async def test_a_letter_that_cannot_be_published_again_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("broken")

    worker = await bench.work(handle)
    await bench.pings(1)
    (entry,) = await eventually(bench.letters)
    await worker.stop(grace=0)
    monkeypatch.setattr("stenobus_bus.connection.Bus.store.__kwdefaults__", {"deadline": 0.05})
    await bench.bus.api("STREAM.DELETE.TEST")
    with pytest.raises(PublishFailed):
        await retry(bench.bus, entry)
    assert await bench.letters() == [entry]


async def test_letters_are_listed_by_handler_in_order_and_removed_one_by_one(bench: Bench) -> None:
    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("broken")

    for name in ("one", "two"):
        await bench.work(handle, name=f"{bench.name}-{name}", concurrency=1)
    await bench.pings(1, 2)
    every = await eventually(lambda: _all(bench, 4))
    assert [entry.sequence for entry in every] == sorted(entry.sequence for entry in every)
    ones = await bench.letters(f"{bench.name}-one")
    assert [json.loads(data(entry.letter))["number"] for entry in ones] == [1, 2]
    await remove(bench.bus, ones[0])
    assert await bench.letters(f"{bench.name}-one") == ones[1:]


async def _all(bench: Bench, count: int) -> list[Any]:
    found = [entry async for entry in letters(bench.bus)]
    return found if len(found) == count else []


async def test_bytes_that_are_no_text_come_back_as_they_were(bench: Bench) -> None:
    async def handle(_: Received[Ping]) -> None:
        raise AssertionError("never called")

    await bench.work(handle)
    await bench.raw(b"\xff\x00\xfe", acme="1")
    (entry,) = await eventually(bench.letters)
    assert entry.letter.data is None
    await retry(bench.bus, entry)
    again = await eventually(lambda: _later(bench, entry.sequence))
    assert data(again.letter) == b"\xff\x00\xfe"
    assert again.letter.headers["acme"] == "1"
    assert again.letter.event_id == entry.letter.event_id


async def _later(bench: Bench, sequence: int) -> Any:
    return next((entry for entry in await bench.letters() if entry.sequence > sequence), None)


async def test_what_is_no_dead_letter_hides_no_others(bench: Bench) -> None:
    await bench.bus.store("dlq.somebody", b"garbage", {})
    await bench.bus.store("dlq.somebody", b"{}", {"stenobus-claim": "1"})

    async def handle(_: Received[Ping]) -> None:
        raise PermanentError("broken")

    await bench.work(handle)
    await bench.pings(1)
    (entry,) = await eventually(lambda: _all(bench, 1))
    assert isinstance(entry.letter, DeadLetter)
