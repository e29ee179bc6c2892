"""Containers whose own health check fails."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..containers import Container
from ..findings import Finding, Recovery, Trouble, line
from ..observations import ContainerGone, ContainerHealth, ContainerSeen, ContainerStarted, Observation
from . import Rule


class Health(Rule):
    """Believes the verdict of the check, which the engine gives after as many failures as it was told."""

    name = "health"

    def __init__(self) -> None:
        self._ill: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """A verdict, or the end of what it was about."""
        match seen:
            case ContainerHealth() | ContainerSeen() | ContainerStarted():
                yield from self._verdict(seen.container, seen)
            case ContainerGone(name=name):
                yield from self._over(name, seen)
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A container that was unhealthy."""
        if cause == "health":
            self._ill.add(component.partition(":")[2])

    def _verdict(self, container: Container, seen: Observation) -> Iterable[Finding]:
        component = f"container:{container.name}"
        if container.running and container.health == "unhealthy":
            if container.name in self._ill:
                return
            self._ill.add(container.name)
            evidence = [line("state", component, "its health check fails", seen.at)]
            if container.health_text:
                evidence.append(line("log", component, container.health_text))
            yield Trouble(
                at=seen.at,
                cause="health",
                component=component,
                kind="container.unhealthy",
                severity="critical",
                title=f"{container.name} is unhealthy",
                evidence=tuple(evidence),
            )
        elif container.health == "healthy":
            yield from self._over(container.name, seen)

    def _over(self, name: str, seen: Observation) -> Iterable[Finding]:
        if name in self._ill:
            self._ill.discard(name)
            yield Recovery(at=seen.at, cause="health", component=f"container:{name}")
