"""Containers that run and are on no network any more: they work on, and nobody reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from ..containers import Container
from ..findings import Finding, Recovery, Trouble, line
from ..observations import ContainerDied, ContainerGone, ContainerHealth, ContainerSeen, ContainerStarted, Observation
from . import Rule

#: Whoever moves a container from one network to another has done so within this time.
_MOVED: Final = timedelta(seconds=3)


class Networks(Rule):
    """Believes the engine, which knows on which networks a container is."""

    name = "networks"

    def __init__(self) -> None:
        #: Since when a container is on no network.
        self._off: dict[str, datetime] = {}
        self._told: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """A container as it is now, or its end."""
        match seen:
            case ContainerSeen(container=container) | ContainerStarted(container=container):
                yield from self._look(container, seen.at)
            case ContainerHealth(container=container):
                yield from self._look(container, seen.at)
            case ContainerDied(container=container):
                yield from self._over(container.name, seen.at)
            case ContainerGone(name=name):
                yield from self._over(name, seen.at)
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """Those that did not come to another network."""
        for name, since in self._off.items():
            if name in self._told or now - since < _MOVED:
                continue
            self._told.add(name)
            component = f"container:{name}"
            yield Trouble(
                at=since,
                cause="network",
                component=component,
                kind="container.cut_off",
                severity="critical",
                title=f"{name} runs, and is on no network",
                evidence=(line("state", component, "it runs and is on no network", since),),
                symptom=False,
            )

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A container that was cut off."""
        if cause == "network":
            name = component.partition(":")[2]
            self._off[name] = since
            self._told.add(name)

    def _look(self, container: Container, at: datetime) -> Iterable[Finding]:
        if container.cut_off:
            self._off.setdefault(container.name, at)
        else:
            yield from self._over(container.name, at)

    def _over(self, name: str, at: datetime) -> Iterable[Finding]:
        self._off.pop(name, None)
        if name in self._told:
            self._told.discard(name)
            component = f"container:{name}"
            said = line("state", component, "it is on a network again, or ended", at)
            yield Recovery(at=at, cause="network", component=component, evidence=(said,))
