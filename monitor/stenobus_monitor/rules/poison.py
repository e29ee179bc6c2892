"""Events that kill their worker again and again, while the worker does well with others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from stenobus_contracts import EvidenceLine
from stenobus_core.runs import Step

from ..findings import Finding, Recovery, Trouble, line
from ..observations import ContainerDied, HandlerSeen, Observation, StepSeen
from . import Rule

#: Attempts that ended with their process from which on an event is poison.
KILLS: Final = 3
#: Events that are followed.
_MOST: Final = 2000
#: A container's death explains the end of an attempt that was at work at most this long before.
_NEAR: Final = timedelta(seconds=5)
#: An incident about an event that nobody tries any more ends after this time.
_QUIET: Final = timedelta(minutes=30)


@dataclass(slots=True)
class _Event:
    """One event in one handler's hands."""

    step: Step
    #: When attempts at it ended with their process.
    kills: set[datetime] = field(default_factory=set)
    #: Containers that died with it in hand.
    workers: set[str] = field(default_factory=set)
    told: int = 0


class Poison(Rule):
    """Two independent signs: an attempt that ended without a word, and the death of the container it ran in.

    The proof that an event is to blame, and not its worker: at least three ends, and others that succeed in between.
    """

    name = "poison"

    def __init__(self) -> None:
        self._events: OrderedDict[str, _Event] = OrderedDict()
        #: Components with an open incident, and when something was last seen of them.
        self._open: dict[str, datetime] = {}
        self._plugins: dict[str, str] = {}
        #: Latest success of each handler with another event.
        self._well: dict[str, tuple[datetime, str]] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Attempts, deaths of containers, and which plugin a handler belongs to."""
        match seen:
            case HandlerSeen(handler=handler, plugin=plugin):
                self._plugins[handler] = plugin
            case ContainerDied():
                for event in self._events.values():
                    if event.step.status == "running" and self._in_hand(event, seen):
                        event.workers.add(f"{seen.container.name}/{seen.container.id[:12]}")
            case StepSeen(step=step):
                yield from self._step(step, seen.at)
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """Events that nobody tries any more."""
        for component, latest in list(self._open.items()):
            if now - latest >= _QUIET:
                del self._open[component]
                yield Recovery(at=now, cause="poison", component=component)

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """An event that killed its worker."""
        if cause == "poison":
            self._open[component] = since

    def _step(self, step: Step, at: datetime) -> Iterator[Finding]:
        if step.status == "done":
            self._well[step.handler] = (at, step.event_id)
            self._events.pop(step.key, None)
            if self._open.pop(_component(step), None) is not None:
                yield Recovery(
                    at=at,
                    cause="poison",
                    component=_component(step),
                    evidence=(line("run", _component(step), "it was handled after all", at),),
                )
            return
        if step.status == "failed" and step.reason == "terminated":
            self._events.pop(step.key, None)
            if self._open.pop(_component(step), None) is not None:
                aside = line("run", _component(step), "it was set aside: nobody tries it any more", at)
                yield Recovery(at=at, cause="poison", component=_component(step), evidence=(aside,))
            return
        event = self._events.setdefault(step.key, _Event(step))
        event.step = step
        if _component(step) in self._open:
            self._open[_component(step)] = at
        event.kills |= {each.started for each in step.tries if each.seconds is None}
        if step.status == "failed" and step.reason == "crashed":
            event.kills.add(step.started)
        while len(self._events) > _MOST:
            self._events.popitem(last=False)
        if len(event.kills) >= KILLS and len(event.kills) > event.told:
            yield Trouble(
                at=at,
                cause="poison",
                component=_component(step),
                kind="event.kills_worker",
                severity="critical",
                title=f"An event of run {step.run} kills {step.handler} again and again",
                evidence=tuple(self._proof(event, at)),
                symptom=False,
            )
            event.told = len(event.kills)
            self._open[_component(step)] = at

    def _proof(self, event: _Event, at: datetime) -> Iterator[EvidenceLine]:
        step, component = event.step, _component(event.step)
        times = ", ".join(f"{each:%H:%M:%S}" for each in sorted(event.kills)[-5:])
        yield line("run", component, f"{len(event.kills)} attempts ended with their process; they began at {times}", at)
        yield line("run", component, f"event {step.event_id} on {step.subject}, attempt {step.attempt}")
        if event.workers:
            yield line("event", component, f"died with it in hand: {', '.join(sorted(event.workers)[:5])}")
        well = self._well.get(step.handler)
        if well is not None and well[0] >= min(event.kills):
            yield line("run", component, f"{step.handler} handled event {well[1]} in between", well[0])

    def _in_hand(self, event: _Event, death: ContainerDied) -> bool:
        plugin = self._plugins.get(event.step.handler, event.step.handler)
        began = event.step.started
        return plugin in death.container.plugins and began <= death.at + _NEAR


def _component(step: Step) -> str:
    return f"event:{step.handler}/{step.event_id}"
