"""Events that wait while nobody works: no process, processes that do not ask, or processes that ask and get nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from stenobus_bus.topology import handler_of
from stenobus_contracts import EvidenceLine

from ..containers import Container
from ..findings import Finding, Recovery, Trouble, line
from ..observations import (
    ContainerGone,
    ContainerHealth,
    ContainerSeen,
    ContainerSignalled,
    ContainerStarted,
    HandlerSeen,
    Observation,
)
from . import Rule

#: How long something must stand still until that is certain: in polls, and in seconds at least, since a short poll
#: makes nobody faster. Proven: their own word leaves no other reason, or nobody is there to be waited for.
_PROVEN: Final = 0.6, 3.0
#: Whoever does not answer may be too busy to, or on the way back. Services are asked more often than the bus is looked
#: at, so that this has mostly begun before the first look that shows it.
_AWAY: Final = 1.2, 3.0
#: Between two events even the busiest handler has a moment of rest, and a server may take its time.
_STILL: Final = 2.5, 4.0
#: By their own word others have their share: those of a process that was killed have it until its lease ends.
_SHARED: Final = 2.5, 45.0
#: A container whose processes do not answer gets this long after its start, in seconds.
_STARTING: Final = 30.0
#: Seconds after which it is told again that a handler waits in a pause of the monitor's own.
_HELD: Final = 120.0
#: A worker that somebody restarts is expected back within this time.
_BACK: Final = timedelta(seconds=15)
#: Kinds, and what each means for people.
_TITLES: Final = {
    "handler.absent": "{count} events wait for {handler}, and no process works for it",
    "consumer.stalled": "{count} events wait for {handler}, and its processes do not ask for them",
    "handler.idle": "{count} events wait for {handler}, and its processes ask and get none",
    "consumer.blocked": "{count} events wait for {handler}: the server delivers no more until some are settled",
}


@dataclass(slots=True)
class _Look:
    """The latest look, and since when it has been like that."""

    seen: HandlerSeen
    kind: str | None
    #: Of that kind; by the word of its processes; and without any movement, whatever it was.
    since: datetime
    proven: datetime | None
    still: datetime


class Backlog(Rule):
    """A backlog alone is load. It is trouble when nothing of it moves, from one look to the next.

    Args:
        poll: seconds between two looks; a handler that seems to stand still is looked at more often.
    """

    name = "backlog"

    def __init__(self, poll: float = 5.0) -> None:
        self._poll = poll
        self._looks: dict[str, _Look] = {}
        #: Handlers with an open incident.
        self._told: set[str] = set()
        #: The latest word of each handler's processes.
        self._words: dict[str, HandlerSeen] = {}
        self._containers: dict[str, Container] = {}
        #: When somebody last sent a signal to a container through the engine.
        self._signalled: dict[str, datetime] = {}
        #: Since when the plugins of a container have not answered, and containers that are told to hang.
        self._mute: dict[str, datetime] = {}
        self._hung: set[str] = set()
        #: When it was last told that a handler waits in a pause of the monitor's own.
        self._held: dict[str, datetime] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Handlers, and the containers that their plugins run in."""
        match seen:
            case HandlerSeen():
                yield from self._handler(seen)
                yield from self._pause(seen)
                yield from self._silent(seen)
            case ContainerSeen() | ContainerStarted() | ContainerHealth():
                self._containers[seen.container.name] = seen.container
            case ContainerSignalled(name=name):
                self._signalled[name] = seen.at
            case ContainerGone(name=name):
                self._forget(name)
                if name in self._hung:
                    self._hung.discard(name)
                    yield Recovery(at=seen.at, cause="hang", component=f"container:{name}")
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A handler that stood still, or a container that hung."""
        name = component.partition(":")[2]
        if cause == "backlog":
            self._told.add(name)
        elif cause == "hang":
            self._hung.add(name)
        elif cause == "held":
            self._held[name] = since

    def _handler(self, seen: HandlerSeen) -> Iterator[Finding]:
        before, look = self._looks.get(seen.handler), self._look(seen)
        if seen.processes:
            self._words[seen.handler] = seen
        component = f"handler:{handler_of(seen.handler)}"
        if look.kind is not None and self._certain(look):
            count = seen.pending + seen.unsettled
            yield Trouble(
                at=seen.at,
                cause="backlog",
                component=component,
                kind=look.kind,
                severity="critical" if look.kind != "handler.idle" else "warning",
                title=_TITLES[look.kind].format(count=count, handler=seen.handler),
                evidence=_evidence(component, seen),
                again=seen.handler not in self._told,
            )
            self._told.add(seen.handler)
        elif look.kind is None and before is not None and seen.handler in self._told:
            self._told.discard(seen.handler)
            moved = f"settled up to {seen.floor}, {seen.pending} wait"
            yield Recovery(
                at=seen.at, cause="backlog", component=component, evidence=(line("bus", component, moved, seen.at),)
            )

    def _look(self, seen: HandlerSeen) -> _Look:
        """Take a look, beside the one before."""
        before = self._looks.get(seen.handler)
        kind = None if self._comes_back(seen) else _kind(seen)
        look = self._looks[seen.handler] = _Look(seen, kind, seen.at, seen.at if _deaf(seen) else None, seen.at)
        if before is not None:
            stays = _moves(seen) == _moves(before.seen)
            if stays:
                look.still = before.still
            if kind == before.kind and (stays or kind == "handler.absent"):
                look.since = before.since
                if look.proven and before.proven:
                    look.proven = before.proven
        return look

    def _certain(self, look: _Look) -> bool:
        """Whether it has been like that for long enough."""
        match look.kind:
            case "handler.absent":  # whoever was there may be too busy to answer
                silent = self._lasts(look, look.seen.silent_since or look.since, _AWAY)
                return silent and self._lasts(look, look.since, _AWAY if self._expected(look.seen) else _PROVEN)
            case "consumer.blocked":  # work that hangs and work that is slow are told apart by time alone
                return self._lasts(look, look.since, _PROVEN) and self._lasts(look, look.still, _STILL)
            case _:
                proven = look.proven is not None and self._lasts(look, max(look.proven, look.since), _PROVEN)
                return proven or self._lasts(look, look.since, _SHARED if _waits(look.seen) else _STILL)

    def _lasts(self, look: _Look, since: datetime, needed: tuple[float, float]) -> bool:
        return (look.seen.at - since).total_seconds() >= self._long(needed)

    def _long(self, needed: tuple[float, float]) -> float:
        polls, least = needed
        return max(polls * self._poll, least)

    def _pause(self, seen: HandlerSeen) -> Iterator[Finding]:
        """Events wait for a handler that the monitor paused; told again and again, since its cause may be over."""
        name = handler_of(seen.handler)
        component = f"handler:{name}"
        if not seen.ours:
            if self._held.pop(name, None) is not None:
                yield Recovery(at=seen.at, cause="held", component=component)
        elif seen.pending and seen.processes:
            told = self._held.get(name)
            if told is None or (seen.at - told).total_seconds() >= _HELD:
                self._held[name] = seen.at
                yield Trouble(
                    at=seen.at,
                    cause="held",
                    component=component,
                    kind="handler.held",
                    severity="info",
                    title=f"{seen.pending} events wait for {name}, which the monitor paused",
                    evidence=_evidence(component, seen) if told is None else (),
                    symptom=False,
                )

    def _comes_back(self, seen: HandlerSeen) -> bool:
        """Whether nobody answers since somebody restarts a worker of it just now, which takes a moment."""
        restarted = [self._signalled[each.name] for each in self._hosts(seen) if each.name in self._signalled]
        return not seen.processes and any(seen.at - at < _BACK for at in restarted)

    def _expected(self, seen: HandlerSeen) -> bool:
        """Whether one of its processes may be about to start."""
        word = self._words.get(seen.handler)
        if hosts := self._hosts(seen):
            return any(not each.running or _starts(each, word, seen.at) for each in hosts)
        if self._containers:  # the engine shows what starts; this one ran elsewhere, if at all
            return word is not None and seen.at - word.at < _BACK
        return True

    def _hosts(self, seen: HandlerSeen) -> list[Container]:
        return [each for each in self._containers.values() if seen.plugin in each.plugins]

    def _forget(self, name: str) -> None:
        """A container is gone, and nobody expects another word of what ran in it."""
        self._signalled.pop(name, None)
        self._mute.pop(name, None)
        if (container := self._containers.pop(name, None)) is not None:
            self._words = {each: word for each, word in self._words.items() if word.plugin not in container.plugins}

    def _silent(self, seen: HandlerSeen) -> Iterator[Finding]:
        """Containers that run, and whose plugin does not answer: a hang, which the engine cannot see."""
        for container in self._hosts(seen):
            component = f"container:{container.name}"
            if seen.processes or not container.running:
                self._mute.pop(container.name, None)
                if container.name in self._hung:
                    self._hung.discard(container.name)
                    yield Recovery(at=seen.at, cause="hang", component=component)
            elif container.status == "paused" or container.cut_off:
                continue  # that it does not answer follows from what is known of it
            elif container.started and (seen.at - container.started).total_seconds() >= _STARTING:
                mute = seen.silent_since or self._mute.setdefault(container.name, seen.at)
                mute = max(mute, container.started + timedelta(seconds=_STARTING))
                if container.name not in self._hung and (seen.at - mute).total_seconds() >= self._long(_AWAY):
                    self._hung.add(container.name)
                    yield Trouble(
                        at=seen.at,
                        cause="hang",
                        component=component,
                        kind="container.hung",
                        severity="critical",
                        title=f"{container.name} runs, and its plugin {seen.plugin} does not answer",
                        evidence=(
                            line("state", component, f"running since {container.started:%H:%M:%S}", seen.at),
                            line("bus", f"plugin:{seen.plugin}", "no process answers the service protocol", seen.at),
                        ),
                    )


def _kind(seen: HandlerSeen) -> str | None:
    """In which way a handler stands still at one look; None when it moves, rests or is meant to stand."""
    if not seen.stands:
        return None
    if not seen.processes:
        return "handler.absent"
    if seen.full:
        return "consumer.blocked"
    return "handler.idle" if seen.waiting and not _deaf(seen) else "consumer.stalled"


def _deaf(seen: HandlerSeen) -> bool:
    """Whether its processes say themselves that nothing keeps them from asking for events, and that they do not."""
    return seen.asked == 0 and bool(seen.room) and not seen.in_hand


def _waits(seen: HandlerSeen) -> bool:
    """Whether its processes say that they may not ask for events now."""
    return seen.asked == 0 and seen.room == 0 and not seen.waiting


def _moves(seen: HandlerSeen) -> tuple[int, int, int]:
    return seen.floor, seen.handled, seen.failures


def _starts(container: Container, word: HandlerSeen | None, now: datetime) -> bool:
    """Whether a container has started just now, and has not been heard of since."""
    started = container.started
    return started is not None and now - started < _BACK and (word is None or word.at < started)


def _evidence(source: str, seen: HandlerSeen) -> tuple[EvidenceLine, ...]:
    oldest = f", the oldest for {seen.oldest:.0f} s" if seen.oldest else ""
    word = f"; they say they asked for {seen.asked} and could ask for {seen.room}" if seen.room is not None else ""
    return (
        line("bus", source, f"{seen.pending} pending and {seen.unsettled} unsettled in {seen.stream}{oldest}", seen.at),
        line(
            "bus",
            source,
            f"{seen.processes} processes answer, {seen.in_hand} of {seen.slots} slots in use, "
            f"{seen.waiting} requests for events open{word if seen.processes else ''}",
            seen.at,
        ),
    )
