"""Containers that come near their memory's limit, or will soon at the rate they grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import ContainerGone, ContainerStarted, ContainerUsage, Observation
from . import Rule

#: Parts of the limit from which on it is trouble, and below which it is none any more.
_HIGH, _LOW = 0.90, 0.80
#: A container that grows is trouble when it will be at its limit within this time, and is this far already.
_SOON: Final = timedelta(minutes=10)
_GROWN: Final = 0.6
#: Looks in a row that must be high; looks from which a growth is read, and that it takes at least.
_LOOKS: Final = 2
_TREND, _ENOUGH = 60, 12


class Memory(Rule):
    """What is left of memory, before the kernel takes it."""

    name = "memory"

    def __init__(self) -> None:
        self._used: dict[str, deque[tuple[datetime, int]]] = {}
        self._high: dict[str, int] = {}
        self._told: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """One look at one container."""
        match seen:
            case ContainerStarted(container=container):
                self._forget(container.name)  # a new life begins small
                self._high.pop(container.name, None)
            case ContainerGone(name=name):
                self._forget(name)
                if name in self._told:
                    self._told.discard(name)
                    yield Recovery(at=seen.at, cause="memory", component=f"container:{name}")
            case ContainerUsage() if seen.memory_limit:
                yield from self._judge(seen)
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A container that was near its limit."""
        if cause == "memory":
            self._told.add(component.partition(":")[2])

    def _forget(self, name: str) -> None:
        self._used.pop(name, None)

    def _judge(self, seen: ContainerUsage) -> Iterable[Finding]:
        used = self._used.setdefault(seen.name, deque(maxlen=_TREND))
        used.append((seen.at, seen.memory))
        part, component = seen.memory / seen.memory_limit, f"container:{seen.name}"
        self._high[seen.name] = self._high.get(seen.name, 0) + 1 if part >= _HIGH else 0
        left = _until(used, seen.memory_limit) if part >= _GROWN else None
        text = f"{seen.memory // 2**20} of {seen.memory_limit // 2**20} MiB in use, {part:.0%}"
        if self._high[seen.name] >= _LOOKS or (left is not None and left <= _SOON):
            evidence = [line("metric", component, text, seen.at)]
            if left is not None and left <= _SOON:
                evidence.append(
                    line("metric", component, f"at its limit in {left.total_seconds() / 60:.0f} min at this rate")
                )
            first = seen.name not in self._told
            self._told.add(seen.name)
            yield Trouble(
                at=seen.at,
                cause="memory",
                component=component,
                kind="container.memory",
                severity="warning",
                title=f"{seen.name} comes near the limit of its memory",
                evidence=tuple(evidence) if first else (),
                again=first,
                symptom=False,
            )
        elif seen.name in self._told and part < _LOW:
            self._told.discard(seen.name)
            yield Recovery(
                at=seen.at, cause="memory", component=component, evidence=(line("metric", component, text, seen.at),)
            )


def _until(used: deque[tuple[datetime, int]], limit: int) -> timedelta | None:
    """How long until the limit, by the line through all looks; None while nothing grows steadily."""
    if len(used) < _ENOUGH:
        return None
    begin = used[0][0]
    times = [(at - begin).total_seconds() for at, _ in used]
    sizes = [size for _, size in used]
    middle, usual = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - middle) ** 2 for time in times)
    if not spread:
        return None
    slope = sum((time - middle) * (size - usual) for time, size in zip(times, sizes, strict=True)) / spread
    rises = sum(later >= earlier for earlier, later in pairwise(sizes))
    if slope <= 0 or rises < 0.8 * (len(sizes) - 1):
        return None  # what goes up and down is in use, not in growth
    seconds = (limit - sizes[-1]) / slope
    return timedelta(seconds=max(0.0, min(seconds, 86_400.0)))
