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

#: Looks in a row that must say the same: between two events even the busiest handler has a moment of rest.
LOOKS: Final = 2
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
    """The look before, and how often in a row it was like that."""

    seen: HandlerSeen
    kind: str | None = None
    times: int = 0


class Backlog(Rule):
    """A backlog alone is load. It is trouble when nothing of it moves from one look to the next."""

    name = "backlog"

    def __init__(self) -> None:
        self._looks: dict[str, _Look] = {}
        #: Handlers with an open incident.
        self._told: set[str] = set()
        self._containers: dict[str, Container] = {}
        #: When somebody last sent a signal to a container through the engine.
        self._signalled: dict[str, datetime] = {}
        #: Containers that are told to hang, and looks in a row at plugins that did not answer.
        self._hung: dict[str, int] = {}
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
                self._containers.pop(name, None)
                self._signalled.pop(name, None)
                if self._hung.pop(name, 0) >= LOOKS:
                    yield Recovery(at=seen.at, cause="hang", component=f"container:{name}")
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A handler that stood still, or a container that hung."""
        name = component.partition(":")[2]
        if cause == "backlog":
            self._told.add(name)
        elif cause == "hang":
            self._hung[name] = LOOKS
        elif cause == "held":
            self._held[name] = since

    def _handler(self, seen: HandlerSeen) -> Iterator[Finding]:
        before = self._looks.get(seen.handler)
        look = self._looks[seen.handler] = _Look(seen)
        look.kind = _standing(before.seen if before else None, seen)
        if look.kind == "handler.absent" and self._comes_back(seen):
            look.kind = None
        if look.kind is not None:
            look.times = before.times + 1 if before and before.kind == look.kind else 1
        component = f"handler:{handler_of(seen.handler)}"
        if look.kind is not None and look.times >= LOOKS:
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
        """Whether somebody restarts a worker of it just now, which takes a moment."""
        hosts = [each for each in self._containers.values() if seen.plugin in each.plugins]
        restarted = [self._signalled[each.name] for each in hosts if each.name in self._signalled]
        return any(seen.at - at < _BACK for at in restarted)

    def _silent(self, seen: HandlerSeen) -> Iterator[Finding]:
        """Containers that run, and whose plugin does not answer: a hang, which the engine cannot see."""
        for container in self._containers.values():
            if seen.plugin not in container.plugins:
                continue
            component, times = f"container:{container.name}", self._hung.get(container.name, 0)
            if seen.processes or not container.running:
                self._hung.pop(container.name, None)
                if times >= LOOKS:
                    yield Recovery(at=seen.at, cause="hang", component=component)
            elif container.status == "paused" or container.cut_off:
                continue  # that it does not answer follows from what is known of it
            elif container.started and (seen.at - container.started).total_seconds() >= _STARTING:
                self._hung[container.name] = times + 1
                if times + 1 == LOOKS:
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


def _standing(before: HandlerSeen | None, now: HandlerSeen) -> str | None:
    """In which way a handler stands still since the look before; None when it moves, rests or is meant to stand."""
    if now.paused or not (now.pending or now.unsettled):
        return None
    if not now.processes:
        return "handler.absent"
    if now.unsettled_limit and now.unsettled >= now.unsettled_limit and before and now.floor == before.floor:
        return "consumer.blocked"
    if before is None or now.floor != before.floor or now.handled != before.handled or now.in_hand:
        return None
    if not now.pending or not before.pending:
        return None
    return "handler.idle" if now.waiting else "consumer.stalled"


def _evidence(source: str, seen: HandlerSeen) -> tuple[EvidenceLine, ...]:
    oldest = f", the oldest for {seen.oldest:.0f} s" if seen.oldest else ""
    return (
        line("bus", source, f"{seen.pending} pending and {seen.unsettled} unsettled in {seen.stream}{oldest}", seen.at),
        line(
            "bus",
            source,
            f"{seen.processes} processes answer, {seen.in_hand} of {seen.slots} slots in use, "
            f"{seen.waiting} requests for events open",
            seen.at,
        ),
    )
