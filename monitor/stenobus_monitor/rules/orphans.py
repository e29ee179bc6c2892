"""Runs that came to one event and never to the one that has to follow, though nothing works on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ..baseline import Baseline
from ..findings import Finding, Recovery, Trouble, line
from ..observations import EventStored, HandlerSeen, Observation, StepSeen
from . import Rule

#: Runs that are followed at a time.
_MOST: Final = 5000
#: A run that has waited this long is no news any more, and what it missed will not come.
_NEWS: Final = timedelta(days=1)
#: Seconds that the age of an event may be off: it is told in a look that takes a while.
_ROUNDED: Final = 2.0


@dataclass(slots=True)
class _Waiting:
    """A run that has the first event and not the second."""

    begin: datetime
    event_id: str
    told: bool = False


class Orphans(Rule):
    """Waits as long as it usually takes, and a fixed time where nobody knows yet.

    Args:
        follows: subject to the subject that has to follow in the same run.
        patience: how long to wait where there is no history.
    """

    name = "orphans"

    def __init__(self, follows: Mapping[str, str], patience: timedelta) -> None:
        self._follows, self._patience = dict(follows), patience
        self._first = {second: first for first, second in self._follows.items()}
        self._usual = {first: Baseline() for first in self._follows}
        self._waiting: dict[str, OrderedDict[str, _Waiting]] = {first: OrderedDict() for first in self._follows}
        #: Second events that were read before the first ones, since every subject is read by itself.
        self._early: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        #: Steps in work or waiting for another attempt, by run.
        self._busy: dict[str, set[str]] = {}
        #: Runs that were orphans before this process began; their events are read again.
        self._resumed: set[str] = set()
        #: When the first event that is not settled was stored, by the subject and by the handler that listens to it;
        #: the beginning of all times where nobody told.
        self._queues: dict[str, dict[str, datetime]] = {first: {} for first in self._follows}
        #: Runs whose failure is known: a dead letter says more than an orphan.
        self._failed: OrderedDict[str, None] = OrderedDict()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Events, and whether somebody still works on their runs."""
        match seen:
            case EventStored(subject=subject) if subject in self._follows:
                self._began(seen)
            case HandlerSeen():
                self._queue(seen)
            case EventStored(subject=subject) if subject in self._first:
                yield from self._followed(seen)
            case StepSeen(step=step):
                busy = self._busy.setdefault(step.run, set())
                if step.status in {"running", "retrying"}:
                    busy.add(step.key)
                else:
                    busy.discard(step.key)
                if not busy:
                    del self._busy[step.run]
                if step.status == "failed":
                    self._failed[step.run] = None
                    if len(self._failed) > _MOST:
                        self._failed.popitem(last=False)
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """Runs that have waited too long."""
        for first, runs in self._waiting.items():
            limit = self._limit(first)
            for run, waiting in list(runs.items()):
                age = now - waiting.begin
                if age < limit:
                    break  # they came in this order
                if age > max(_NEWS, 2 * limit):
                    del runs[run]
                    if waiting.told:
                        yield Recovery(at=now, cause="orphan", component=f"run:{run}")
                elif self._in_queue(first, waiting):
                    continue  # nobody has taken it yet: a backlog, which is another kind of trouble or none
                elif not waiting.told and run not in self._busy and run not in self._failed:
                    waiting.told = True
                    yield self._orphan(first, run, waiting, limit, now)

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A run that was an orphan."""
        if cause == "orphan":
            self._resumed.add(component.partition(":")[2])

    def _queue(self, seen: HandlerSeen) -> None:
        for subject in self._follows.keys() & set(seen.subjects):
            if not (seen.pending or seen.unsettled):
                self._queues[subject].pop(seen.handler, None)
            elif seen.oldest is None:
                self._queues[subject][seen.handler] = datetime.min.replace(tzinfo=seen.at.tzinfo)
            else:
                self._queues[subject][seen.handler] = seen.at - timedelta(seconds=seen.oldest + _ROUNDED)

    def _in_queue(self, first: str, waiting: _Waiting) -> bool:
        """Whether a handler has not settled an event that is as old as this one."""
        return any(oldest <= waiting.begin for oldest in self._queues[first].values())

    def _began(self, seen: EventStored) -> None:
        done = self._early.pop((seen.subject, seen.run), None)
        if done is not None:
            self._usual[seen.subject].add(done, (done - seen.at).total_seconds())
            return
        runs = self._waiting[seen.subject]
        runs.setdefault(seen.run, _Waiting(seen.at, seen.event_id, told=seen.run in self._resumed))
        if len(runs) > _MOST:
            runs.popitem(last=False)

    def _followed(self, seen: EventStored) -> Iterator[Finding]:
        first = self._first[seen.subject]
        waiting = self._waiting[first].pop(seen.run, None)
        if waiting is None:
            self._early[first, seen.run] = seen.at
            if len(self._early) > _MOST:
                self._early.popitem(last=False)
            return
        if waiting.told:
            yield Recovery(
                at=seen.at,
                cause="orphan",
                component=f"run:{seen.run}",
                evidence=(line("bus", f"run:{seen.run}", f"{seen.subject} was published", seen.at),),
            )
        else:  # what somebody had to help along says nothing of what is usual
            self._usual[first].add(seen.at, (seen.at - waiting.begin).total_seconds())

    def _limit(self, first: str) -> timedelta:
        unusual = self._usual[first].unusual
        return self._patience if unusual is None else max(timedelta(seconds=unusual), timedelta(seconds=30))

    def _orphan(self, first: str, run: str, waiting: _Waiting, limit: timedelta, now: datetime) -> Trouble:
        component, second = f"run:{run}", self._follows[first]
        usual = self._usual[first].usual
        text = f"no {second} {(now - waiting.begin).total_seconds():.0f} s later, and no step of the run is at work"
        known = f"it usually takes {usual:.0f} s" if usual is not None else "how long it usually takes is not known"
        return Trouble(
            at=now,
            cause="orphan",
            component=component,
            kind="run.orphaned",
            severity="warning",
            title=f"The run {run} has {first} and no {second}",
            evidence=(
                line("bus", component, f"{first} was stored as event {waiting.event_id}", waiting.begin),
                line("run", component, text, now),
                line("metric", component, f"{known}; unusual from {limit.total_seconds():.0f} s on"),
            ),
        )
