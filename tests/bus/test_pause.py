"""Pause and resume: the server holds events back, the workers stay as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stenobus_bus import Received, apply, pull
from stenobus_bus.pause import pause, places, resume
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Ping
from .conftest import Bench

HOUR = timedelta(hours=1)


async def _nothing(_: Received[Ping]) -> None:
    return None


async def test_a_paused_handler_gets_nothing_until_it_is_resumed(bench: Bench) -> None:
    worker = await bench.work(_nothing)
    (place,) = await places(bench.bus, bench.name)
    assert place.paused_until is None
    until = datetime.now(UTC) + HOUR
    await pause(bench.bus, place, until)
    await bench.pings(1, 2)
    await still(lambda: worker.handled == 0, 0.3)
    (place,) = await places(bench.bus, bench.name)
    assert (place.handler, place.pending, place.paused_until) == (bench.name, 2, until)
    await resume(bench.bus, place)
    await eventually(lambda: worker.handled == 2)


async def test_a_pause_ends_by_itself(bench: Bench) -> None:
    worker = await bench.work(_nothing)
    (place,) = await places(bench.bus, bench.name)
    await pause(bench.bus, place, datetime.now(UTC) + timedelta(seconds=0.5))
    await bench.pings(1)
    await eventually(lambda: worker.handled == 1)


async def test_what_is_in_work_is_finished_in_a_pause(bench: Bench) -> None:
    gate = Gate()

    async def handle(_: Received[Ping]) -> None:
        await gate()

    worker = await bench.work(handle, consumer={"ack_wait": 0.3})
    await bench.pings(1)
    await eventually(lambda: gate.waiting)
    (place,) = await places(bench.bus, bench.name)
    await pause(bench.bus, place, datetime.now(UTC) + HOUR)
    gate.open()
    await eventually(lambda: worker.handled == 1)
    await eventually(bench.settled)


async def test_a_paused_worker_stays_healthy_longer_than_silence_is_borne(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_HEARTBEAT", 0.2)
    monkeypatch.setattr(pull, "_SILENCE", 1.5)
    monkeypatch.setattr(pull, "_EXPIRES", 1.0)
    worker = await bench.work(_nothing)
    (place,) = await places(bench.bus, bench.name)
    await pause(bench.bus, place, datetime.now(UTC) + HOUR)
    await still(lambda: worker.healthy, 2.0)


async def test_a_pause_survives_a_restart_of_the_worker_and_a_changed_declaration(bench: Bench) -> None:
    worker = await bench.work(_nothing)
    (place,) = await places(bench.bus, bench.name)
    await pause(bench.bus, place, datetime.now(UTC) + HOUR)
    await worker.stop()
    await apply(bench.bus, [bench.consumer(ack_wait=7)])
    await bench.work(_nothing)
    assert (await places(bench.bus, bench.name))[0].paused_until


async def test_every_handler_has_its_place(bench: Bench) -> None:
    names = [f"{bench.name}-{number}" for number in range(3)]
    await apply(bench.bus, [bench.consumer(name=name) for name in names])
    await apply(bench.bus, [bench.consumer(name=f"{names[0]}_urgent")])
    assert [place.handler for place in await places(bench.bus)].count(names[0]) == 2
    assert {place.consumer for place in await places(bench.bus, names[0])} == {names[0], f"{names[0]}_urgent"}
