"""Schedules on a real server: one event per occurrence, whatever happens in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import Bus, Occurrence, ScheduleSpec, schedules
from stenobus_bus.history import Remembered, read
from stenobus_bus.schedules import Clock, Schedules, consumer
from stenobus_bus.timing import Every, Timing
from stenobus_bus.topology import apply as declare
from stenobus_bus.topology import key_value

from ..support.contracts import Ping
from ..support.waiting import eventually

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

    async def alarm(self, id: str = "acme.nightly") -> datetime | None:
        return (await (await Schedules.open(self.bus)).alarm(id))[0]


@pytest.fixture
async def clocks(bus: Bus) -> AsyncIterator[Clocks]:
    await declare(bus, [schedules.stream(), key_value(schedules.BUCKET), consumer("acme", 1.0)])
    clocks = Clocks(bus)
    yield clocks
    for clock in clocks.running:
        await clock.stop(grace=0)


def occurrences(messages: list[Remembered]) -> list[str]:
    return [message.headers["ce-time"] for message in messages]


async def test_a_schedule_publishes_its_event_when_it_is_time(clocks: Clocks) -> None:
    assert await clocks.apply(spec()) == ["create schedule acme.nightly"]
    await clocks.run(spec())
    first, second = (await eventually(lambda: _at_least(clocks, 2)))[:2]
    assert Ping.model_validate_json(first.data) == Ping(number=1)
    times = [datetime.fromisoformat(time) for time in occurrences([first, second])]
    assert times[1] - times[0] == timedelta(seconds=1)
    assert timedelta(0) <= first.time - times[0] < timedelta(seconds=2)
    assert first.run == f"acme-nightly-{times[0]:%Y-%m-%dT%H%M%S}"
    assert first.headers["ce-source"] == "stenobus/schedules/acme.nightly"


async def test_two_processes_fire_an_occurrence_once(clocks: Clocks) -> None:
    await clocks.apply(spec())
    await clocks.run(spec())
    async with await Bus.connect(clocks.bus.nc.connected_url.geturl()) as other:
        await clocks.run(spec(), bus=other)
        times = occurrences(await eventually(lambda: _at_least(clocks, 4)))
        assert len(times) == len(set(times))
        await clocks.running.pop().stop(grace=0)


async def _at_least(clocks: Clocks, number: int) -> list[Remembered]:
    found = await clocks.pings()
    return found if len(found) >= number else []
