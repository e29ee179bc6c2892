"""Containers that end though nobody told them to: crashes, want of memory, and loops of either."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from stenobus_contracts import EvidenceLine, Severity

from ..containers import ENDING, Container
from ..findings import Finding, Recovery, Trouble, line
from ..observations import (
    ContainerDied,
    ContainerGone,
    ContainerHealth,
    ContainerOutOfMemory,
    ContainerSeen,
    ContainerSignalled,
    ContainerStarted,
    ContainerUsage,
    HandlerSeen,
    Observation,
)
from . import Rule

#: Deaths within this time are a loop from this number on.
LOOP: Final = 3
LOOP_WINDOW: Final = timedelta(minutes=10)
#: An engine's signal explains a death for as long as the engine waits before it kills.
_COMMANDED: Final = timedelta(seconds=120)
#: The kernel's word comes some 30 ms before the death it explains.
_OOM: Final = timedelta(seconds=10)
#: Where neither event nor flag came: memory this near its limit at a look this recent explains a kill nobody ordered.
_NEAR: Final = 0.9
_LOOK: Final = timedelta(seconds=30)
#: A death that follows comes within 40 ms; later, it was a child.
_CHILD: Final = timedelta(seconds=1)
#: An event tells of an end at most this long after the engine noted it.
_LATE: Final = timedelta(seconds=1)
#: A container without a health check counts as well when it has run this long.
_STEADY: Final = timedelta(seconds=5)
#: A container that somebody stopped is expected back within this time: a restart is no trouble.
_BACK: Final = timedelta(seconds=15)
_SIGKILLED: Final = 137
#: Restart policies of what is meant to run for ever.
_KEPT: Final = frozenset({"always", "unless-stopped"})
_LAST_LINES: Final = 5


class Death(BaseModel):
    """One end of a container that nobody ordered."""

    at: datetime
    exit_code: int
    oom: bool


_DEATHS: Final = TypeAdapter(dict[str, list[Death]])


@dataclass(slots=True)
class _Life:
    """What is known of one container."""

    deaths: deque[Death] = field(default_factory=lambda: deque(maxlen=50))
    signalled: datetime | None = None
    signal: str = ""
    oom: datetime | None = None
    #: The kernel killed something in it, and nobody knows yet whether that was its first process.
    child: datetime | None = None
    #: A child was killed, and that is an incident still.
    child_down: datetime | None = None
    #: An end that was found by looking, and whose event may still come.
    found: datetime | None = None
    #: The latest look at its memory: when, and the part of its limit in use.
    memory: tuple[datetime, float] | None = None
    container: Container | None = None
    #: In trouble since, until it has recovered.
    down: datetime | None = None
    #: Stopped by somebody, and not back yet.
    stopped: datetime | None = None


class Deaths(Rule):
    """Judges each end of a container by event, flag, exit code and signal together: none of them is enough alone."""

    name = "deaths"

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        #: Handlers as they were last seen, and when they last moved or had nothing to do.
        self._handlers: dict[str, tuple[HandlerSeen, datetime]] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Ends, and what explains them."""
        match seen:
            case ContainerSignalled(name=name, signal=signal) if signal in ENDING or not signal:
                life = self._life(name)
                life.signalled, life.signal = seen.at, signal
            case ContainerOutOfMemory(name=name):
                life = self._life(name)
                life.oom = life.child = seen.at
            case ContainerUsage(name=name) if seen.memory_limit:
                self._life(name).memory = seen.at, seen.memory / seen.memory_limit
            case HandlerSeen():
                before, moved = self._handlers.get(seen.handler, (None, seen.at))
                rests = not seen.pending and not seen.unsettled
                if rests or before is None or seen.floor != before.floor:
                    moved = seen.at
                self._handlers[seen.handler] = seen, moved
            case ContainerDied():
                life = self._life(seen.container.name)
                if life.found is not None and abs(seen.at - life.found) <= _LATE:
                    life.found = None  # a look at everything was faster than the event
                else:
                    yield from self._died(seen)
            case ContainerStarted() | ContainerHealth() | ContainerSeen():
                life = self._life(seen.container.name)
                yield from self._missed(life, seen)
                life.container = seen.container
                if seen.container.running:
                    life.stopped = None
                yield from self._recovered(life, seen.at)
            case ContainerGone(name=name):
                life = self._lives.pop(name, _Life())
                if life.down:
                    yield Recovery(
                        at=seen.at,
                        cause="death",
                        component=f"container:{name}",
                        evidence=(line("event", f"container:{name}", "removed", seen.at),),
                    )
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """Containers that have run well for long enough, and those that somebody stopped and did not start again."""
        for name, life in self._lives.items():
            yield from self._recovered(life, now)
            yield from self._child_killed(name, life, now)
            if life.stopped and now - life.stopped >= _BACK and not life.down:
                life.down = life.stopped
                yield self._stopped(name, life)

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A container that was down, or had lost a child."""
        name = component.partition(":")[2]
        if cause == "death":
            self._life(name).down = since
        elif cause == "child":
            self._life(name).child_down = since

    def state(self) -> JsonValue:
        """The deaths of the last minutes: the engine's own counter forgets those that its API healed."""
        return {
            name: [death.model_dump(mode="json") for death in life.deaths]
            for name, life in self._lives.items()
            if life.deaths
        }

    def restore(self, state: JsonValue) -> None:
        """Count on."""
        try:
            known = _DEATHS.validate_python(state)
        except ValidationError:
            return  # another version's: counting begins anew
        for name, deaths in known.items():
            self._life(name).deaths.extend(deaths)

    # --- one end -----------------------------------------------------------------------------------------------------

    def _died(self, seen: ContainerDied) -> Iterator[Finding]:
        name = seen.container.name
        life = self._life(name)
        life.container, life.child = seen.container, None
        oom = self._out_of_memory(life, seen)
        if not oom and _ordered(life, seen.at):
            life.signalled = None
            if not seen.container.is_job and not life.down:
                life.stopped = seen.at
            return
        if seen.exit_code == 0 and not oom and (seen.container.is_job or seen.container.restart_policy not in _KEPT):
            return  # it had nothing left to do
        life.deaths.append(Death(at=seen.at, exit_code=seen.exit_code, oom=oom))
        life.down, life.stopped = seen.at, None
        yield self._trouble(name, life, seen, oom)

    def _out_of_memory(self, life: _Life, seen: ContainerDied) -> bool:
        """The flag stays set after a child was killed, so alone it says nothing of a clean end."""
        told = life.oom is not None and abs(seen.at - life.oom) <= _OOM
        killed = seen.exit_code == _SIGKILLED
        near = life.memory is not None and seen.at - life.memory[0] <= _LOOK and life.memory[1] >= _NEAR
        return seen.exit_code != 0 and (
            told or (killed and (seen.container.oom_killed or (near and not _ordered(life, seen.at))))
        )

    def _trouble(self, name: str, life: _Life, seen: ContainerDied, oom: bool) -> Trouble:
        recent = [death for death in life.deaths if seen.at - death.at <= LOOP_WINDOW]
        source = f"container:{name}"
        evidence = [line("event", source, f"died with exit code {seen.exit_code}", seen.at)]
        if oom:
            evidence += _want_of_memory(source, life, seen)
        if len(recent) > 1:
            times = ", ".join(death.at.strftime("%H:%M:%S") for death in recent[-5:])
            evidence.append(line("event", source, f"died {len(recent)} times in ten minutes: {times}"))
        evidence += [line("log", source, text) for text in seen.log[-_LAST_LINES:]]
        kind, severity, title = _verdict(name, seen.exit_code, oom, len(recent))
        return Trouble(
            at=seen.at,
            cause="death",
            component=source,
            kind=kind,
            severity=severity,
            title=title,
            evidence=tuple(evidence),
            symptom=not oom,
        )

    def _stopped(self, name: str, life: _Life) -> Trouble:
        source = f"container:{name}"
        assert life.stopped is not None
        return Trouble(
            at=life.stopped,
            cause="death",
            component=source,
            kind="container.stopped",
            severity="warning",
            title=f"{name} was stopped by somebody and is not back",
            evidence=(
                line("event", source, f"stopped through the engine, signal {life.signal or 'unknown'}", life.stopped),
            ),
            symptom=False,
        )

    def _child_killed(self, name: str, life: _Life, now: datetime) -> Iterator[Finding]:
        """A process in it was killed, and the first one lives on: no death came behind it."""
        source = f"container:{name}"
        if life.child and now - life.child >= _CHILD:
            life.child_down, life.child = life.child, None
            yield Trouble(
                at=life.child_down,
                cause="child",
                component=source,
                kind="container.child_oom",
                severity="warning",
                title=f"A process in {name} was killed for want of memory",
                evidence=(
                    line("event", source, "the kernel killed a process in it, not the first one", life.child_down),
                ),
                symptom=False,
            )
        elif life.child_down and now - life.child_down >= LOOP_WINDOW:
            life.child_down = None
            yield Recovery(at=now, cause="child", component=source)

    def _missed(self, life: _Life, seen: ContainerSeen | ContainerStarted | ContainerHealth) -> Iterator[Finding]:
        """An end that no event told of: it was alive when last seen, and another life or none is there now."""
        now, before = seen.container, life.container
        if not isinstance(seen, ContainerSeen) or before is None or not before.running or now.finished is None:
            return
        ended = now.finished
        if _ordered(life, ended) or before.started is None or ended <= before.started:
            return
        if not now.running or now.restarts > before.restarts:
            life.found = ended
            yield from self._died(ContainerDied(at=ended, container=now, exit_code=now.exit_code))

    def _recovered(self, life: _Life, now: datetime) -> Iterator[Finding]:
        container = life.container
        if life.down is None or container is None or not container.running or container.started is None:
            return
        well = container.health == "healthy" or (not container.health and now - container.started >= _STEADY)
        if well and container.started >= life.down and self._progresses(container):
            life.down = None
            source = f"container:{container.name}"
            health = "healthy" if container.health else f"up for {(now - container.started).total_seconds():.0f} s"
            yield Recovery(
                at=now,
                cause="death",
                component=source,
                evidence=(line("state", source, f"running again since {container.started:%H:%M:%S}, {health}", now),),
            )

    def _progresses(self, container: Container) -> bool:
        """Whether the handlers in it have done something since its start, or had nothing to do."""
        begin = container.started
        own = [moved for seen, moved in self._handlers.values() if seen.plugin in container.plugins]
        return begin is not None and all(moved >= begin for moved in own)

    def _life(self, name: str) -> _Life:
        return self._lives.setdefault(name, _Life())


def _ordered(life: _Life, end: datetime) -> bool:
    """Whether somebody told it to end, through the engine."""
    return life.signalled is not None and timedelta() <= end - life.signalled <= _COMMANDED


def _want_of_memory(source: str, life: _Life, seen: ContainerDied) -> Iterator[EvidenceLine]:
    """Each sign that there was."""
    if life.oom is not None and abs(seen.at - life.oom) <= _OOM:
        yield line("event", source, "the kernel killed a process in it for want of memory", life.oom)
    if seen.container.oom_killed:
        yield line("state", source, "the engine marks it as killed for want of memory", seen.at)
    if life.memory is not None:
        yield line("metric", source, f"{life.memory[1]:.0%} of its memory was in use", life.memory[0])
    if seen.container.memory_limit:
        yield line("state", source, f"its limit is {seen.container.memory_limit} bytes")


def _verdict(name: str, exit_code: int, oom: bool, times: int) -> tuple[str, Severity, str]:
    """Kind, severity and title of a death."""
    if oom:
        again = f" ({times} times in ten minutes)" if times > 1 else ""
        return "container.oom", "critical", f"{name} was killed for want of memory{again}"
    if times >= LOOP:
        return "container.crash_loop", "critical", f"{name} dies again and again (exit code {exit_code})"
    if exit_code == 0:
        return "container.exited", "warning", f"{name} ended though it should run"
    return "container.crashed", "critical", f"{name} crashed with exit code {exit_code}"
