"""Alerts when a handler's rate of dead letters rises, and when it has calmed down."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from stenobus_bus import Bus, apply
from stenobus_bus.alarm import Alarm
from stenobus_bus.dead_letters import Choice, purge
from stenobus_bus.history import read
from stenobus_bus.topology import domain
from stenobus_contracts import BusAlert
from stenobus_testing.waiting import eventually

WINDOW = 300.0


@pytest.fixture(autouse=True)
async def stream(bus: Bus) -> None:
    await apply(bus, [domain("bus")])


async def bury(bus: Bus, count: int, handler: str = "asr", reason: str = "exhausted") -> None:
    """What counts is that they lie there; nobody reads them."""
    for _ in range(count):
        await bus.store(f"dlq.{handler}.{reason}", b"", {})


async def alerts(bus: Bus) -> list[BusAlert]:
    return [BusAlert.model_validate_json(m.data) async for m in read(bus, "BUS", "bus.alert")]


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_an_alert_opens_when_a_handler_reaches_the_threshold_and_not_before(bus: Bus) -> None:
    alarm = Alarm(bus, 5, WINDOW)
    await bury(bus, 3)
    await bury(bus, 4, "llm")
    assert await alarm.look() == []
    await bury(bus, 2, reason="crashed")
    (alert,) = await alarm.look()
    assert (alert.kind, alert.status, alert.handler, alert.reason) == ("dead_letters", "open", "asr", "exhausted")
    assert (alert.count, alert.previous_count, alert.threshold, alert.window_seconds) == (5, 0, 5, WINDOW)
    assert alert.first_at is not None
    assert abs(datetime.now(UTC) - alert.first_at) < timedelta(seconds=30)
    assert await alerts(bus) == [alert]


async def test_an_open_alert_is_repeated_only_in_another_window_and_when_the_count_has_doubled(bus: Bus) -> None:
    day = 86400.0  # that the clock goes on to the next window by itself would be a rare chance
    alarm = Alarm(bus, 5, day)
    await bury(bus, 5)
    (first,) = await alarm.look()
    await bury(bus, 4)
    next_window = datetime.fromtimestamp((time.time() // day + 1) * day, UTC)
    assert await alarm.look(next_window) == []
    await bury(bus, 1)
    assert await alarm.look() == []
    (again,) = await alarm.look(next_window)
    assert (again.status, again.alert_id, again.count) == ("open", first.alert_id, 10)
    assert await alarm.look(next_window) == []


async def test_an_alert_is_resolved_once_when_a_window_was_calm(bus: Bus) -> None:
    alarm = Alarm(bus, 4, WINDOW)
    await bury(bus, 4)
    (opened,) = await alarm.look()
    assert await alarm.look() == []
    (resolved,) = await alarm.look(later(WINDOW + 1))
    assert (resolved.status, resolved.alert_id, resolved.handler) == ("resolved", opened.alert_id, "asr")
    assert (resolved.count, resolved.previous_count, resolved.reason) == (0, 4, None)
    assert await alarm.look(later(WINDOW + 2)) == []
    assert [alert.status for alert in await alerts(bus)] == ["open", "resolved"]


async def test_letters_that_a_person_dealt_with_resolve_the_alert_too(bus: Bus) -> None:
    alarm = Alarm(bus, 4, WINDOW)
    await bury(bus, 8)
    await alarm.look()
    await purge(bus, Choice("asr"))
    (resolved,) = await alarm.look()
    assert resolved.status == "resolved"


async def test_a_rate_that_hovers_at_the_threshold_does_not_flap(bus: Bus) -> None:
    alarm = Alarm(bus, 4, WINDOW)
    await bury(bus, 4)
    await alarm.look()
    await bus.api("STREAM.MSG.DELETE.DLQ", {"seq": 1})
    assert await alarm.look() == []
    await bury(bus, 1)
    assert await alarm.look() == []


async def test_many_processes_and_restarts_publish_an_alert_once(bus: Bus) -> None:
    await bury(bus, 5)
    await bury(bus, 6, "llm")
    crowd = [Alarm(bus, 5, WINDOW) for _ in range(8)]
    for _ in range(4):
        await asyncio.gather(*(alarm.look() for alarm in crowd))
    assert await Alarm(bus, 5, WINDOW).look() == []
    assert sorted(alert.handler for alert in await alerts(bus)) == ["asr", "llm"]
    calm = later(WINDOW + 1)
    for _ in range(4):
        await asyncio.gather(*(alarm.look(calm) for alarm in crowd))
    assert [alert.status for alert in await alerts(bus)] == ["open", "open", "resolved", "resolved"]


async def test_an_alert_opens_again_after_it_was_resolved_in_another_window(bus: Bus) -> None:
    alarm = Alarm(bus, 4, 2.0)
    await bury(bus, 4)
    await eventually(alarm.look)
    await eventually(alarm.look)
    await bury(bus, 4)
    await eventually(alarm.look)
    first, resolved, again = await alerts(bus)
    assert [first.status, resolved.status, again.status] == ["open", "resolved", "open"]
    assert first.alert_id == resolved.alert_id != again.alert_id


async def test_garbage_raises_no_alert_and_stops_none(bus: Bus) -> None:
    for subject in ("dlq.x", "dlq.x.y", "dlq.x.y.z"):
        for _ in range(5):
            await bus.store(subject, b"garbage", {})
    await bus.store("bus.alert", b"garbage", {})
    alarm = Alarm(bus, 5, WINDOW)
    assert await alarm.look() == []
    await bury(bus, 5)
    (alert,) = await alarm.look()
    assert alert.handler == "asr"


async def test_it_watches_by_itself_and_through_an_outage_of_its_stream(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.alarm._SOONEST", 0.02)
    config = (await bus.api("STREAM.INFO.BUS"))["config"]
    await bus.api("STREAM.DELETE.BUS")
    await bury(bus, 5)
    alarm = Alarm(bus, 5, 1.0)
    with capture_logs() as logs:
        await alarm.start()
        await eventually(lambda: any(line["event"] == "alarm.bus_trouble" for line in logs))
    await bus.api("STREAM.CREATE.BUS", config)
    await bury(bus, 5)
    await eventually(lambda: alerts(bus))
    await alarm.stop()
