"""When schedules are due: golden dates of clocks that were moved, and rules that hold everywhere."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stenobus_bus import ScheduleRefused
from stenobus_bus.timing import At, Cron, Every, Timing, latest


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(timing: Timing, after: str, number: int) -> list[tuple[str, str]]:
    """The next occurrences: key, and instant in UTC."""
    found, at = [], utc(after)
    for _ in range(number):
        occurrence = timing.next(at)
        assert occurrence is not None
        at = occurrence.at
        found.append((occurrence.key, f"{at:%Y-%m-%d %H:%M}"))
    return found


@pytest.mark.parametrize("day", [date(2026, 9, 6), date(2027, 9, 5)])
def test_a_midnight_that_does_not_exist_is_due_when_the_clock_is_moved(day: date) -> None:
    """America/Santiago: after 23:59:59 comes 01:00:00."""
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    assert due(Cron("0 0 0 * * *", "America/Santiago"), f"{before} 03:59", 3) == [
        (f"{before}T00:00:00", f"{before} 04:00"),
        (f"{day}T00:00:00", f"{day} 04:00"),  # 01:00 on the wall
        (f"{after}T00:00:00", f"{after} 03:00"),
    ]


@pytest.mark.parametrize("day", [date(2026, 4, 4), date(2027, 4, 3)])
def test_an_hour_that_is_repeated_is_due_once_at_the_first(day: date) -> None:
    """America/Santiago: after the first 23:59:59 comes 23:00:00 again."""
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    assert due(Cron("0 0 23 * * *", "America/Santiago"), f"{before} 12:00", 3) == [
        (f"{before}T23:00:00", f"{day} 02:00"),
        (f"{day}T23:00:00", f"{after} 02:00"),  # not again at 03:00
        (f"{after}T23:00:00", f"{after + timedelta(days=1)} 03:00"),
    ]


def test_from_within_the_repetition_the_repeated_hour_is_over() -> None:
    timing = Cron("0 30 23 * * *", "America/Santiago")
    assert due(timing, "2026-04-05 03:10", 1) == [("2026-04-05T23:30:00", "2026-04-06 03:30")]


def test_several_times_of_a_missing_hour_are_due_together_once() -> None:
    assert due(Cron("0 */20 0-1 * * *", "America/Santiago"), "2026-09-06 03:00", 4) == [
        ("2026-09-06T00:00:00", "2026-09-06 04:00"),
        ("2026-09-06T01:20:00", "2026-09-06 04:20"),
        ("2026-09-06T01:40:00", "2026-09-06 04:40"),
        ("2026-09-07T00:00:00", "2026-09-07 03:00"),
    ]


def test_a_missing_time_in_the_middle_of_the_gap_waits_for_its_end() -> None:
    assert due(Cron("0 30 2 * * *", "Europe/Berlin"), "2026-03-28 12:00", 2) == [
        ("2026-03-29T02:30:00", "2026-03-29 01:00"),  # 03:00 on the wall
        ("2026-03-30T02:30:00", "2026-03-30 00:30"),
    ]


def test_a_day_that_a_zone_left_out_is_due_when_the_next_one_begins() -> None:
    """Pacific/Apia had no 30 December 2011."""
    assert due(Cron("0 0 12 * * *", "Pacific/Apia"), "2011-12-30 00:00", 2) == [
        ("2011-12-30T12:00:00", "2011-12-30 10:00"),  # midnight of the 31st
        ("2011-12-31T12:00:00", "2011-12-30 22:00"),
    ]


@given(
    zone=some.sampled_from(
        ["America/Santiago", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Gaza", "Africa/Casablanca"]
    ),
    time=some.times(),
    start=some.dates(date(2015, 1, 1), date(2030, 1, 1)),
)
@settings(max_examples=50, deadline=None)
def test_a_daily_schedule_is_due_once_for_every_local_date(zone: str, time: object, start: date) -> None:
    timing = Cron(f"{time.second} {time.minute} {time.hour} * * *", zone)  # type: ignore[attr-defined]
    at = datetime(start.year, start.month, start.day, tzinfo=ZoneInfo(zone)).astimezone(UTC) - timedelta(days=1)
    dates, last = [], at
    for _ in range(400):
        occurrence = timing.next(last)
        assert occurrence is not None
        assert occurrence.at > last
        assert occurrence.at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) >= occurrence.local
        dates.append(occurrence.local.date())
        last = occurrence.at
    assert dates == [dates[0] + timedelta(days=number) for number in range(400)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15 30 2 * * *", "2026-01-01 02:30:15"),
        ("0 0 12 * * mon-fri", "2026-01-01 12:00:00"),
        ("0 0 12 * * SUN", "2026-01-04 12:00:00"),
        ("0 0 0 29 feb ?", "2028-02-29 00:00:00"),
        ("0 0 0 13 * fri", "2026-01-02 00:00:00"),  # either day suffices
        ("0 0 0 */7 * 1", "2026-01-05 00:00:00"),  # a step is a restriction
        ("0,30 59/1 23 31 12 *", "2026-12-31 23:59:00"),
    ],
)
def test_cron_is_read_as_the_server_reads_it(text: str, expected: str) -> None:
    occurrence = Cron(text).next(utc("2026-01-01 00:00:00"))
    assert occurrence is not None
    assert f"{occurrence.at:%Y-%m-%d %H:%M:%S}" == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 0 * * *", "has five fields; put the second first: '0 0 0 "),
        ("0 0 0 * *  * *", "must have six fields: second, minute"),
        ("", "must have six fields"),
        ("60 0 0 * * *", "'60' is no second"),
        ("0 0 0 0 * *", "'0' is no day of the month"),
        ("0 0 0 * * 7", r"'7' is no day of the week \(0 to 6"),
        ("0 0 0 * juli *", "'juli' is no month"),
        ("0 */0 * * * *", r"'\*/0' is no minute"),
        ("0 5-3 * * * *", "'5-3' is no minute"),
        ("0 1, * * * *", "'' is no minute"),
        ("0 0 0 30 2 *", "never comes true"),
    ],
)
def test_a_wrong_cron_expression_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ScheduleRefused, match=sentence):
        Cron(text)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "America", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone_is_one_sentence(zone: str) -> None:
    with pytest.raises(ScheduleRefused, match=r"There is no time zone .*; write an IANA name"):
        Cron("0 0 0 * * *", zone)


def test_an_interval_hangs_on_no_start() -> None:
    quarter = Every(timedelta(minutes=15))
    assert due(quarter, "2026-11-21 04:52:13", 2) == [
        ("2026-11-21T05:00:00", "2026-11-21 05:00"),
        ("2026-11-21T05:15:00", "2026-11-21 05:15"),
    ]


@pytest.mark.parametrize("interval", [timedelta(0), timedelta(milliseconds=500), timedelta(seconds=-5)])
def test_an_interval_below_a_second_is_refused(interval: timedelta) -> None:
    with pytest.raises(ScheduleRefused, match="whole seconds, at least one"):
        Every(interval)


def test_one_instant_is_due_once_and_never_again() -> None:
    moment = At(datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("America/Santiago")))
    assert due(moment, "2026-01-01 00:00", 1) == [("2026-01-01T15:00:00", "2026-01-01 15:00")]
    assert moment.next(utc("2026-01-01 15:00")) is None


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ScheduleRefused, match="says no time zone"):
        At(datetime(2026, 1, 1))


@pytest.mark.parametrize("text", ["* * * * * *", "0 0 * * * *", "0 0 0 1 1 *", "0 0 0 29 2 *"])
def test_the_latest_occurrence_is_found_after_any_downtime(text: str) -> None:
    timing, until = Cron(text), utc("2026-11-21 04:00:00")
    last = latest(timing, utc("2019-01-01 00:00:00"), until)
    assert last is not None
    following = timing.next(last.at)
    assert last.at <= until
    assert following is not None
    assert following.at > until


def test_nothing_is_the_latest_when_nothing_was_due() -> None:
    assert latest(Cron("0 0 0 * * *"), utc("2026-11-21 00:00:00"), utc("2026-11-21 23:59:59")) is None
