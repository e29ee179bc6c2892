"""Collectors that cannot see: whatever they watch may be in trouble, and nobody would know."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import CollectorState, Observation
from . import Rule

#: Where the bus does not take what is told of it.
UNREACHABLE: Final = "bus.unreachable"
#: Collectors whose blindness says more than that.
_KINDS: Final = {
    "engine": ("engine.unreachable", "The container engine does not answer"),
    "bus": (UNREACHABLE, "The bus does not answer"),
}


class Blindness(Rule):
    """A collector that failed. It is started again by itself, and says when it sees again.

    Where the engine or the bus does not answer, one failure is enough: the bus has been asked several times by then.
    Any other collector may stumble once on a busy machine.
    """

    name = "blindness"

    def __init__(self) -> None:
        self._blind: set[str] = set()
        self._stumbled: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """A collector's word; what it sees afterwards shows that it does."""
        if not isinstance(seen, CollectorState):
            return
        component = f"collector:{seen.collector}"
        if seen.trouble is None:
            self._stumbled.discard(seen.collector)
            if seen.collector in self._blind:
                self._blind.discard(seen.collector)
                yield Recovery(at=seen.at, cause="blind", component=component)
            return
        if seen.collector not in {*_KINDS, *self._stumbled, *self._blind}:
            self._stumbled.add(seen.collector)
            return
        kind, title = _KINDS.get(seen.collector, ("monitor.blind", f"The monitor cannot see: {seen.collector}"))
        yield Trouble(
            at=seen.at,
            cause="blind",
            component=component,
            kind=kind,
            severity="critical",
            title=title,
            evidence=(line("state", component, seen.trouble, seen.at),),
            again=seen.collector not in self._blind,
        )
        self._blind.add(seen.collector)

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A collector that was blind."""
        if cause == "blind":
            self._blind.add(component.partition(":")[2])
