"""When a schedule is due: a cron expression on a wall clock, an interval, or one instant. Pure calculation.

Clocks that are moved are the reason for a calculation of our own. nats-server's cron with a time zone skips the day
whose midnight does not exist, and fires twice where an hour is repeated. Here a missing time is due at the first
instant after it, and a repeated one once, at the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import ScheduleRefused

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Days a cron expression is searched: the 29th of February on a given weekday returns after 40 years at the latest.
_HORIZON: Final = 41 * 366
#: How far back the latest occurrence is looked for, nearest first, so that a second's rhythm is not walked for a month.
_WINDOWS: Final = (timedelta(minutes=1), timedelta(hours=2), timedelta(days=2), timedelta(days=60))


class Occurrence(NamedTuple):
    """One time at which a schedule is due."""

    #: The instant, in UTC.
    at: datetime
    #: The wall-clock time that the schedule names, without a zone. Where the clock skips it, ``at`` is later.
    local: datetime

    @property
    def key(self) -> str:
        """What tells it from every other occurrence of its schedule."""
        return self.local.isoformat()


class Timing(Protocol):
    """Says when a schedule is due."""

    @property
    def text(self) -> str:
        """As people wrote it."""

    @property
    def zone(self) -> ZoneInfo:
        """Whose wall clock it follows."""

    def next(self, after: datetime) -> Occurrence | None:
        """The first occurrence later than an instant; None when there is no more."""


def upcoming(timing: Timing, after: datetime) -> Iterator[Occurrence]:
    """All occurrences later than an instant, in order."""
    while (occurrence := timing.next(after)) is not None:
        yield occurrence
        after = occurrence.at


def latest(timing: Timing, after: datetime, until: datetime) -> Occurrence | None:
    """The last occurrence later than one instant and no later than another."""
    for window in (*_WINDOWS, until - after):
        found = takewhile(lambda occurrence: occurrence.at <= until, upcoming(timing, max(after, until - window)))
        if last := deque(found, maxlen=1):
            return last.pop()
    return None


@dataclass(frozen=True, slots=True)
class At:
    """Once.

    Raises:
        ScheduleRefused: the time has no zone.
    """

    instant: datetime

    def __post_init__(self) -> None:
        if self.instant.tzinfo is None:
            raise ScheduleRefused(
                f"at={self.instant.isoformat()} says no time zone; write datetime(…, tzinfo=UTC) or another zone."
            )

    @property
    def text(self) -> str:
        """As the server writes it."""
        return f"@at {self.instant.astimezone(UTC).isoformat()}"

    @property
    def zone(self) -> ZoneInfo:
        """UTC."""
        return ZoneInfo("UTC")

    def next(self, after: datetime) -> Occurrence | None:
        """The instant, unless it is over."""
        at = self.instant.astimezone(UTC)
        return Occurrence(at, at.replace(tzinfo=None)) if at > after else None


@dataclass(frozen=True, slots=True)
class Every:
    """At every multiple of an interval since 1970 in UTC: every 15 minutes is at :00, :15, :30 and :45.

    It hangs on no start, so that neither a new process nor a new declaration shifts it.

    Raises:
        ScheduleRefused: the interval is no whole number of seconds, or none.
    """

    interval: timedelta

    def __post_init__(self) -> None:
        if self.interval < timedelta(seconds=1) or self.interval % timedelta(seconds=1):
            raise ScheduleRefused(f"every={self.interval} must be whole seconds, at least one.")

    @property
    def text(self) -> str:
        """As the server writes it."""
        return f"@every {self.interval.total_seconds():.0f}s"

    @property
    def zone(self) -> ZoneInfo:
        """UTC."""
        return ZoneInfo("UTC")

    def next(self, after: datetime) -> Occurrence | None:
        """The next multiple."""
        at = _EPOCH + ((after - _EPOCH) // self.interval + 1) * self.interval
        return Occurrence(at, at.replace(tzinfo=None))


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: Mapping[str, int] = {}


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("day of the week", 0, 6, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


class Cron:
    """Six fields on the wall clock of a zone: second, minute, hour, day of the month, month, day of the week.

    Numbers, names (``jan``, ``mon``), lists, ranges and steps, as nats-server reads them; Sunday is 0. When both kinds
    of day are restricted, either suffices.

    Args:
        text: such as ``0 30 2 * * mon-fri``.
        timezone: IANA name, such as ``America/Santiago``.

    Raises:
        ScheduleRefused: a field or the zone makes no sense, or the expression never comes true.
    """

    def __init__(self, text: str, timezone: str = "UTC") -> None:
        self.text = " ".join(text.split())
        self.zone = _zone(timezone)
        parts = self.text.lower().split(" ")
        if len(parts) == 5:
            raise ScheduleRefused(f"The cron expression {text!r} has five fields; put the second first: '0 {text}'.")
        if len(parts) != 6:
            raise ScheduleRefused(
                f"The cron expression {text!r} must have six fields: second, minute, hour, day of the month, month, "
                "day of the week."
            )
        self._seconds, self._minutes, self._hours, self._days, self._months, self._weekdays = (
            sorted(_values(text, part, field)) for part, field in zip(parts, _FIELDS, strict=True)
        )
        self._either_day = not any(part in {"*", "?"} for part in (parts[3], parts[5]))
        if self.next(_EPOCH) is None:
            raise ScheduleRefused(f"The cron expression {text!r} never comes true: no such date exists.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and (self.text, self.zone.key) == (other.text, other.zone.key)

    def __hash__(self) -> int:
        return hash((self.text, self.zone.key))

    def next(self, after: datetime) -> Occurrence | None:
        """The first occurrence later than an instant."""
        wall = after.astimezone(self.zone).replace(tzinfo=None, fold=0, microsecond=0)
        for local in self._walls(wall):
            at = _instant(local, self.zone)
            if at > after:
                return Occurrence(at, local)
        return None

    def _walls(self, start: datetime) -> Iterator[datetime]:
        """Matching wall-clock times from a given one on, whether the zone's clock shows them or not."""
        midnight = start.replace(hour=0, minute=0, second=0)
        for number in range(_HORIZON):
            day = midnight + timedelta(days=number)
            if not self._matches(day):
                continue
            for hour in self._hours:
                if day.replace(hour=hour, minute=59, second=59) < start:
                    continue
                for minute in self._minutes:
                    if day.replace(hour=hour, minute=minute, second=59) < start:
                        continue
                    for second in self._seconds:
                        if (wall := day.replace(hour=hour, minute=minute, second=second)) >= start:
                            yield wall

    def _matches(self, day: datetime) -> bool:
        if day.month not in self._months:
            return False
        matches = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        return any(matches) if self._either_day else all(matches)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleRefused(f"There is no time zone {name!r}; write an IANA name such as Europe/Berlin.") from error


def _values(text: str, part: str, field: _Field) -> set[int]:
    """The numbers a field stands for."""
    values: set[int] = set()
    for piece in part.split(","):
        span, _, step = piece.partition("/")
        low, dash, high = span.partition("-")
        try:
            if low in {"*", "?"}:
                first, last = field.first, field.last
            else:
                first = _number(low, field)
                last = _number(high, field) if dash else field.last if step else first
            width = int(step) if "/" in piece else 1
        except ValueError:
            first, last, width = 1, 0, 0
        if not (field.first <= first <= last <= field.last and width > 0):
            raise ScheduleRefused(
                f"The cron expression {text!r}: {piece!r} is no {field.name} ({field.first} to {field.last}, a list, "
                "a range or a step)."
            )
        values.update(range(first, last + 1, width))
    return values


def _number(text: str, field: _Field) -> int:
    return field.names[text] if text in field.names else int(text)


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the zone's clock shows a time; where it skips it, the instant it is moved."""
    first = local.replace(tzinfo=zone).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    # Inside a gap, fold=1 reads the time with the offset behind it, which gives an instant before the gap (PEP 495).
    before, after = int(local.replace(tzinfo=zone, fold=1).timestamp()), int(first.timestamp())
    offset = first.astimezone(zone).utcoffset()
    span = range(before, after + 1)
    moved = bisect_left(span, True, key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() == offset)
    return datetime.fromtimestamp(span[moved], UTC)
