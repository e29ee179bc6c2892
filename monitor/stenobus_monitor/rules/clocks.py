"""Clocks that disagree: schedules, ages and traces would all be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import ClockSeen, EventStored, Observation
from . import Rule

#: A difference from which on a clock is wrong, and one below which it is right.
_WRONG, _RIGHT = timedelta(seconds=2), timedelta(seconds=1)
#: Looks in a row that must say so.
_LOOKS: Final = 2
#: Clocks that are wrong at a time: anybody can call himself anything.
_MOST: Final = 100


class Clocks(Rule):
    """Believes no difference that the time of asking could explain."""

    name = "clocks"

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Compare another clock with ours, and a producer's with the server's."""
        match seen:
            case ClockSeen():
                yield from self._compare(seen.source, abs(seen.ahead) - seen.known_to, seen.ahead, seen.at)
            case EventStored(said=said) if said is not None and seen.source != "unknown":
                # An event may come late, and does after an outage. It cannot come before its time.
                ahead = max(said - seen.at, timedelta())
                yield from self._compare(seen.source, ahead, ahead, seen.at)
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A clock that was wrong."""
        if cause == "clock":
            self._looks[component.partition(":")[2]] = _LOOKS

    def _compare(self, source: str, off: timedelta, ahead: timedelta, at: datetime) -> Iterator[Finding]:
        component, looks = f"clock:{source}", self._looks.get(source, 0)
        seconds = abs(ahead).total_seconds()
        evidence = line("metric", component, f"{seconds:.1f} s {'ahead' if ahead > timedelta() else 'behind'}", at)
        if off >= _WRONG and (looks or len(self._looks) < _MOST):
            self._looks[source] = looks + 1
            if looks + 1 >= _LOOKS:
                first = looks + 1 == _LOOKS
                yield Trouble(
                    at=at,
                    cause="clock",
                    component=component,
                    kind="clock.skew",
                    severity="warning",
                    title=f"The clock of {source} differs by {seconds:.0f} s",
                    evidence=(evidence,) if first else (),
                    again=first,
                    symptom=False,
                )
        elif off < _RIGHT and self._looks.pop(source, 0) >= _LOOKS:
            yield Recovery(at=at, cause="clock", component=component, evidence=(evidence,))
