"""When sources are due: midnight in Santiago, also where there is none, or where an hour comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile

import pytest

from stenobus_bus import Occurrence, ScheduleSpec
from stenobus_bus.timing import upcoming
from stenobus_sources.events import SourceDue
from stenobus_sources.service import plugin

SCHEDULES = {schedule.name: schedule for schedule in plugin.schedules}


def occurrences(schedule: ScheduleSpec, first: str, days: int) -> list[Occurrence]:
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return list(takewhile(lambda due: due.at < start + timedelta(days=days), upcoming(schedule.timing, start)))


@pytest.mark.parametrize("day", ["2026-09-06", "2027-09-05"])
def test_a_day_without_midnight_has_its_run_when_the_day_begins(day: str) -> None:
    before = datetime.fromisoformat(day) - timedelta(days=1)
    runs = occurrences(SCHEDULES["changes"], f"{before:%Y-%m-%d}T12:00:00", 2)
    assert [run.local.isoformat() for run in runs][:1] == [f"{day}T00:00:00"]
    assert runs[0].at == datetime.fromisoformat(f"{day}T04:00:00+00:00")  # 23:59:59 is followed by 01:00
    assert len(runs) == 2 and runs[1].local - runs[0].local == timedelta(days=1)


@pytest.mark.parametrize("day", ["2026-04-04", "2027-04-03"])
def test_where_an_hour_comes_twice_midnight_comes_once(day: str) -> None:
    after = datetime.fromisoformat(day) + timedelta(days=1)
    runs = occurrences(SCHEDULES["changes"], f"{day}T12:00:00", 1)
    assert [run.local for run in runs] == [after]
    assert runs[0].at == after.replace(hour=4, tzinfo=UTC)


def test_a_whole_year_has_a_run_a_day() -> None:
    for name, days in (("changes", 1), ("listing", 1), ("full", 7)):
        runs = occurrences(SCHEDULES[name], "2026-01-01T12:00:00", 730)
        steps = {later.local - earlier.local for earlier, later in pairwise(runs)}
        assert steps == {timedelta(days=days)}


def test_the_run_is_called_after_its_day_so_that_it_begins_once() -> None:
    schedule = SCHEDULES["changes"]
    [run] = occurrences(schedule, "2026-09-05T12:00:00", 1)
    first, second = (schedule.envelope(SourceDue(), run.key, run.at) for _ in range(2))
    assert first.run == "sources-changes-2026-09-06T000000" and first.id == second.id


def test_what_was_missed_is_caught_up_once() -> None:
    schedule = SCHEDULES["changes"]
    asleep = datetime(2026, 9, 3, 12, tzinfo=UTC)
    [due] = schedule.due(asleep, datetime(2026, 9, 7, 12, tzinfo=UTC))
    assert due.key == "2026-09-07T00:00:00"
    assert schedule.event(due) == SourceDue(reads="changes")
    assert {schedule.catch_up for schedule in SCHEDULES.values()} == {"once"}
