"""Schedules on a real server: one event per occurrence, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Occurrence, ScheduleSpec, schedules
from stenobus_bus.clock import Clock
from stenobus_bus.history import Remembered, read
from stenobus_bus.schedules import STREAM, Known, Overtaken, Progress, Schedules, consumer
from stenobus_bus.timing import At, Cron, Every, Timing
from stenobus_bus.topology import apply as declare
from stenobus_bus.topology import domain, key_value, object_bucket
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping, Pong
from ..support.zones import zone

SECOND = Every(timedelta(seconds=1))
DAY = Every(timedelta(days=1))


def spec(timing: Timing = SECOND, name: str = "nightly", **more: Any) -> ScheduleSpec:
    event = more.pop("event", Ping(number=1))
    make: Callable[[Occurrence], Any] = event if callable(event) else lambda _: event
    fixed = None if callable(event) else event
    return ScheduleSpec("acme", name, timing, more.pop("contract", Ping), make, fixed, **more)


class Clocks:
    """What a test does with schedules."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.running: list[Clock] = []

    async def apply(self, *specs: ScheduleSpec, plugins: tuple[str, ...] = ("acme",)) -> list[str]:
        return [str(change) for change in await schedules.apply(self.bus, specs, plugins)]

    async def plan(self, *specs: ScheduleSpec, plugins: tuple[str, ...] = ("acme",)) -> list[str]:
        return [str(change) for change in await schedules.plan(self.bus, specs, plugins)]

    async def run(self, *specs: ScheduleSpec, bus: Bus | None = None) -> Clock:
        clock = Clock(bus or self.bus, "acme", specs, ack_wait=1.0)
        self.running.append(clock)
        await clock.start()
        return clock

    async def pings(self) -> list[Remembered]:
        return [message async for message in read(self.bus, "TEST", "test.ping")]

    async def at_least(self, number: int) -> list[Remembered]:
        found = await self.pings()
        return found if len(found) >= number else []

    async def settled(self) -> bool:
        """Every wake-up has been handled."""
        info = await self.bus.api(f"CONSUMER.INFO.{STREAM}.acme")
        return bool(info["num_pending"] == info["num_ack_pending"] == 0)

    async def waiting(self) -> bool:
        """A wake-up was put off, and came again."""
        info = await self.bus.api(f"CONSUMER.INFO.{STREAM}.acme")
        return bool(info["delivered"]["consumer_seq"] > 1)

    async def look(self, id: str = "acme.nightly") -> Known:
        return await (await Schedules.open(self.bus)).look(id)

    async def alarm(self, id: str = "acme.nightly") -> datetime | None:
        return (await self.look(id)).alarm


@pytest.fixture
async def clocks(bus: Bus) -> AsyncIterator[Clocks]:
    await declare(bus, [schedules.stream(), key_value(schedules.BUCKET), consumer("acme", 1.0)])
    clocks = Clocks(bus)
    yield clocks
    for clock in clocks.running:
        await clock.stop(grace=0)


def soon() -> At:
    """An instant that is not over before it is declared."""
    return At(datetime.now(UTC) + timedelta(seconds=1.5))


def occurrences(messages: list[Remembered]) -> list[str]:
    return [message.headers["ce-time"] for message in messages]


async def test_a_schedule_publishes_its_event_when_it_is_time(clocks: Clocks) -> None:
    assert await clocks.apply(spec()) == ["create schedule acme.nightly"]
    await clocks.run(spec())
    first, second = (await eventually(lambda: clocks.at_least(2)))[:2]
    assert Ping.model_validate_json(first.data) == Ping(number=1)
    times = [datetime.fromisoformat(time) for time in occurrences([first, second])]
    assert (times[1] - times[0]) % timedelta(seconds=1) == timedelta(0) < times[1] - times[0]
    assert timedelta(0) <= first.time - times[0] < timedelta(hours=1)
    assert first.run == f"acme-nightly-{times[0]:%Y-%m-%dT%H%M%S}"
    assert first.headers["ce-source"] == "stenobus/schedules/acme.nightly"
    assert (await clocks.bus.api(f"STREAM.INFO.{STREAM}"))["state"]["messages"] <= 2  # what rang is not kept


async def test_two_processes_fire_an_occurrence_once(clocks: Clocks) -> None:
    await clocks.apply(spec())
    await clocks.run(spec())
    async with await Bus.connect(clocks.bus.nc.connected_url.geturl()) as other:
        await clocks.run(spec(), bus=other)
        times = occurrences(await eventually(lambda: clocks.at_least(3)))
        assert len(times) == len(set(times))
        await clocks.running.pop().stop(grace=0)


async def test_one_instant_fires_once(clocks: Clocks) -> None:
    once = spec(soon())
    await clocks.apply(once)
    await clocks.run(once)
    await eventually(lambda: clocks.at_least(1))
    assert await clocks.apply(once) == ["none schedule acme.nightly"]
    assert await clocks.alarm() is None


async def test_an_instant_that_was_over_when_it_was_declared_never_fires(clocks: Clocks) -> None:
    await clocks.apply(spec(At(datetime.now(UTC) - timedelta(seconds=1))))
    assert await clocks.alarm() is None


async def test_an_event_is_made_for_its_occurrence(clocks: Clocks) -> None:
    def make(occurrence: Occurrence) -> Ping:
        return Ping(number=7, text=occurrence.key)

    await clocks.apply(spec(event=make))
    await clocks.run(spec(event=make))
    (first, *_) = await eventually(lambda: clocks.at_least(1))
    ping = Ping.model_validate_json(first.data)
    assert datetime.fromisoformat(f"{ping.text}+00:00") == datetime.fromisoformat(first.headers["ce-time"])


async def test_a_function_that_fails_is_asked_again(clocks: Clocks) -> None:
    asked: list[Occurrence] = []

    def make(occurrence: Occurrence) -> Ping:
        asked.append(occurrence)
        if len(asked) == 1:
            raise ValueError("not yet")
        return Ping(number=1)

    once = spec(soon(), event=make)
    await clocks.apply(once)
    await clocks.run(once)
    await eventually(lambda: clocks.at_least(1))
    assert len(asked) == 2
    assert asked[0] == asked[1]


# --- declaring --------------------------------------------------------------------------------------------------------


async def test_declaring_it_again_changes_nothing(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY))
    before = await clocks.look()
    assert await clocks.plan(spec(DAY)) == ["none schedule acme.nightly"]
    assert await clocks.apply(spec(DAY)) == ["none schedule acme.nightly"]
    assert replace(await clocks.look(), now=before.now) == before


async def test_many_processes_may_declare_it_at_once(clocks: Clocks) -> None:
    changes = await asyncio.gather(*(clocks.apply(spec(DAY)) for _ in range(8)))
    assert sorted(changes)[0] == ["create schedule acme.nightly"]
    assert (await clocks.look()).alarm == _next(DAY)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"event": Ping(number=2)}, "event"),
        ({"timing": Cron("0 0 3 * * *")}, "timing"),
        ({"timing": Cron("0 0 0 * * *", "America/Santiago")}, "timezone"),
        ({"contract": Pong, "event": Pong(number=1)}, "subject"),
        ({"catch_up": "all"}, "catch_up"),
    ],
)
async def test_a_changed_schedule_replaces_the_old_one(clocks: Clocks, more: dict[str, Any], what: str) -> None:
    await clocks.apply(spec(DAY))
    changed = spec(**{"timing": DAY, **more})
    (planned,) = await clocks.plan(changed)
    assert planned.startswith("update schedule acme.nightly (")
    assert what in planned
    assert await clocks.apply(changed) == [planned]
    assert await clocks.plan(changed) == ["none schedule acme.nightly"]
    assert await clocks.alarm() == _next(changed.timing)
    alarms = await clocks.bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": "schedules.alarm.>"})
    assert alarms["state"]["subjects"] == {"schedules.alarm.acme.nightly": 1}


async def test_what_was_due_before_a_change_is_not_due_after_it(clocks: Clocks) -> None:
    earlier = spec(Cron("0 0 0 * * *"))
    known = await Schedules.open(clocks.bus)
    await known.declare(earlier.id, earlier.declaration(datetime.now(UTC) - timedelta(days=3)), 0)
    await clocks.apply(spec(DAY))
    assert await clocks.alarm() == _next(DAY)
    await clocks.run(spec(DAY))
    await eventually(clocks.settled)
    assert not await clocks.pings()
    assert await clocks.alarm() == _next(DAY)


async def test_a_schedule_that_its_plugin_no_longer_has_is_removed(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY), spec(DAY, "weekly"))
    assert await clocks.plan(spec(DAY)) == ["none schedule acme.nightly", "remove schedule acme.weekly"]
    await clocks.apply(spec(DAY))
    assert await clocks.alarm("acme.weekly") is None
    assert await clocks.alarm("acme.nightly") is not None
    assert await clocks.plan(spec(DAY)) == ["none schedule acme.nightly"]


async def test_a_removed_schedule_does_not_ring(clocks: Clocks) -> None:
    await clocks.apply(spec(soon()), spec(name="other"))
    await clocks.apply(spec(name="other"))
    await clocks.run(spec(name="other"))
    await eventually(lambda: clocks.at_least(2))
    rang = await clocks.bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": "schedules.due.>"})
    assert list(rang["state"]["subjects"]) == ["schedules.due.acme.other"]


async def test_a_removed_schedule_can_come_back(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY))
    await clocks.apply()
    assert await clocks.apply(spec(DAY)) == ["create schedule acme.nightly"]
    assert await clocks.alarm() == _next(DAY)


async def test_schedules_of_others_are_left_alone(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY))
    foreign = {"Nats-Schedule": "@every 1h", "Nats-Schedule-Target": "schedules.mine.fired"}
    await clocks.bus.store("schedules.mine.hourly", b"", foreign)
    assert await clocks.apply(plugins=("other", "acm")) == []
    assert await clocks.alarm() is not None
    await clocks.apply()

    async def left() -> bool:
        info = await clocks.bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": ">"})
        return bool(info["state"]["subjects"] == {"schedules.mine.hourly": 1})

    await eventually(left)


async def test_an_alarm_that_somebody_else_set_meanwhile_is_not_overwritten(clocks: Clocks) -> None:
    schedules = await Schedules.open(clocks.bus)
    before = await schedules.look("acme.nightly")
    await clocks.apply(spec(DAY))
    with pytest.raises(Overtaken):
        await schedules.set_alarm(spec(Cron("0 0 3 * * *")), before, before.now)
    assert await clocks.alarm() == _next(DAY)


async def test_a_lost_alarm_is_set_again(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY))
    await clocks.bus.api(f"STREAM.PURGE.{STREAM}")
    (planned,) = await clocks.plan(spec(DAY))
    assert planned.startswith("update schedule acme.nightly (alarm: None →")
    await clocks.apply(spec(DAY))
    assert await clocks.alarm() == _next(DAY)


@pytest.mark.parametrize("declared", [False, True])
async def test_a_server_whose_clock_was_set_back_goes_on_with_the_schedule(clocks: Clocks, declared: bool) -> None:
    await clocks.apply(spec(DAY))
    schedules, known = await Schedules.open(clocks.bus), await clocks.look()
    wrong = known.now + timedelta(days=400)  # what its clock said for a while
    if declared:
        assert known.declared
        declaration = known.declared.model_copy(update={"since": wrong})
        await schedules.declare("acme.nightly", declaration, known.declared_revision)
    else:
        await schedules.advance("acme.nightly", Progress(until=wrong), known.progress_revision)
    await schedules.set_alarm(spec(DAY), await clocks.look(), wrong)
    (planned,) = await clocks.plan(spec(DAY))
    assert planned.startswith("update schedule acme.nightly (until: ")
    assert [str(change).partition("(")[0] for change in await clocks.apply(spec(DAY))] == [planned.partition("(")[0]]
    assert await clocks.alarm() == _next(DAY)
    assert await clocks.plan(spec(DAY)) == ["none schedule acme.nightly"]


async def test_the_plan_for_an_empty_server_is_to_create(bus: Bus) -> None:
    assert [str(change) for change in await schedules.plan(bus, [spec()], ["acme"])] == ["create schedule acme.nightly"]


async def test_another_version_of_the_plugin_leaves_the_occurrence_to_those_who_know_it(clocks: Clocks) -> None:
    new = spec(soon(), event=Ping(number=2))
    await clocks.apply(new)
    old = await clocks.run(spec(DAY))
    await eventually(clocks.waiting)
    await old.stop(grace=0)
    await clocks.run(new)
    (ping,) = await eventually(lambda: clocks.at_least(1))
    assert Ping.model_validate_json(ping.data).number == 2


# --- what was missed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("catch_up", "expected"), [("once", [3]), ("all", [1, 2, 3]), ("skip", [])])
async def test_what_no_process_was_there_for_is_caught_up(clocks: Clocks, catch_up: Any, expected: list[int]) -> None:
    """Three occurrences are missed, the last of them some hours ago."""
    missed = spec(Cron("0 0 0 * * *"), catch_up=catch_up)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if datetime.now(UTC) - midnight < 2 * schedules.PUNCTUAL:
        missed = spec(Cron("0 30 23 * * *"), catch_up=catch_up)
        midnight -= timedelta(minutes=30)
    since = midnight - timedelta(days=2, hours=1)
    known = await Schedules.open(clocks.bus)
    await known.declare(missed.id, missed.declaration(since), 0)
    assert await clocks.apply(missed) == ["none schedule acme.nightly"]
    await clocks.run(missed)
    await eventually(lambda: _armed(clocks, missed))
    days = [datetime.fromisoformat(time) for time in occurrences(await clocks.pings())]
    assert days == [midnight - timedelta(days=3 - number) for number in expected]
    assert (await clocks.look()).progress.until == midnight
    assert await clocks.plan(missed) == ["none schedule acme.nightly"]


def test_a_punctual_occurrence_is_not_skipped() -> None:
    rhythm = spec(Cron("0 0 * * * *"), catch_up="skip")
    hour = datetime(2026, 11, 21, 5, tzinfo=UTC)
    assert [due.at for due in rhythm.due(hour - timedelta(hours=5), hour + timedelta(seconds=59))] == [hour]
    assert not list(rhythm.due(hour - timedelta(hours=5), hour + timedelta(seconds=61)))


# --- whatever dies ----------------------------------------------------------------------------------------------------


async def test_an_alarm_outlives_the_server(tmp_path: Path) -> None:
    """It is killed while the alarm is set, and comes back after its time."""
    server = EmbeddedServer(tmp_path / "nats", port=0)
    async with await Bus.connect(await server.start()) as bus:
        await declare(bus, [domain("test"), object_bucket("stenobus"), schedules.stream(), key_value(schedules.BUCKET)])
        clocks = Clocks(bus)
        once = spec(soon())
        await clocks.apply(once)
        assert await clocks.alarm() is not None
        os.kill(_pid(server), signal.SIGKILL)
    again = EmbeddedServer(tmp_path / "nats", port=0)
    await eventually(lambda: datetime.now(UTC) > once.timing.instant)  # type: ignore[attr-defined]
    async with await Bus.connect(await again.start()) as bus:
        clocks = Clocks(bus)
        assert await clocks.apply(once) == ["none schedule acme.nightly"]
        clock = await clocks.run(once)
        (ping,) = await eventually(lambda: clocks.at_least(1))
        assert datetime.fromisoformat(ping.headers["ce-time"]) == once.timing.instant  # type: ignore[attr-defined]
        await clock.stop(grace=0)
    await server.stop()
    await again.stop()


@pytest.mark.parametrize("place", ["advance", "set_alarm"])
async def test_a_process_that_dies_between_firing_and_the_next_alarm_costs_nothing(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Its event is stored; what follows is another process's work."""
    dying = asyncio.Event()
    whole = getattr(Schedules, place)

    async def die(self: Schedules, *args: Any) -> None:
        dying.set()
        await asyncio.Event().wait()

    steady = spec(catch_up="all")
    await clocks.apply(steady)
    async with await Bus.connect(clocks.bus.nc.connected_url.geturl()) as lost:
        monkeypatch.setattr(Schedules, place, die)
        clock = await clocks.run(steady, bus=lost)
        await dying.wait()
        fired = len(await clocks.pings())
        assert fired
        await lost.nc.close()  # as by SIGKILL: nothing is settled, nothing handed back
        clocks.running.remove(clock)
    monkeypatch.setattr(Schedules, place, whole)
    await clocks.run(steady)
    times = occurrences(await eventually(lambda: clocks.at_least(fired + 2)))
    _contiguous(times)
    await clock.stop(grace=0)


async def test_a_wake_up_for_nothing_changes_nothing(clocks: Clocks) -> None:
    await clocks.apply(spec(DAY))
    before = await clocks.look()
    await clocks.run(spec(DAY))
    await clocks.bus.store("schedules.due.acme.nightly", b"", {})
    await clocks.bus.store("schedules.due.acme.unknown", b"", {})
    await eventually(clocks.settled)
    assert replace(await clocks.look(), now=before.now) == before
    assert not await clocks.pings()


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_wrong_clock_of_a_process_does_no_harm(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("stenobus_bus.schedules.datetime", Wrong)
    await clocks.apply(spec())
    await clocks.run(spec())
    for message in await eventually(lambda: clocks.at_least(2)):
        assert timedelta(0) <= message.time - datetime.fromisoformat(message.headers["ce-time"]) < timedelta(hours=1)


# --- clocks that are moved --------------------------------------------------------------------------------------------


async def test_a_midnight_that_does_not_exist_fires_when_the_clock_is_moved(clocks: Clocks, tmp_path: Path) -> None:
    moved = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    with zone(tmp_path, "Gap", moved, by=3600):
        nightly = spec(Cron("0 0 0 * * *", "Gap"))
        await clocks.apply(nightly)
        assert await clocks.alarm() == moved
        await clocks.run(nightly)
        (ping,) = await eventually(lambda: clocks.at_least(1))
        assert datetime.fromisoformat(ping.headers["ce-time"]) == moved
        assert ping.run.endswith("T000000")
        await eventually(lambda: _armed(clocks, nightly))
        assert await clocks.alarm() == moved + timedelta(hours=23)


async def test_an_hour_that_is_repeated_does_not_fire_again(clocks: Clocks, tmp_path: Path) -> None:
    moved = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    with zone(tmp_path, "Fold", moved, by=-3600):
        await clocks.apply(spec(Cron("0 0 23 * * *", "Fold")))
        assert await clocks.alarm() == moved + timedelta(hours=24)


def _contiguous(times: list[str]) -> None:
    """One for every second."""
    first = datetime.fromisoformat(times[0])
    assert [datetime.fromisoformat(time) for time in times] == [
        first + timedelta(seconds=number) for number in range(len(times))
    ]


def _pid(server: EmbeddedServer) -> int:
    (record,) = server.folder.glob("ports/nats-server_*.ports")
    return int(record.stem.removeprefix("nats-server_"))


def _next(timing: Timing) -> datetime:
    following = timing.next(datetime.now(UTC))
    assert following is not None
    return following.at


async def _armed(clocks: Clocks, schedule: ScheduleSpec) -> bool:
    return await clocks.alarm(schedule.id) == _next(schedule.timing)
