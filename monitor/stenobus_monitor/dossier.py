"""What is known of an incident, gathered by code and bounded: a model gets this and nothing else, and cannot ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stenobus_contracts import EvidenceKind, EvidenceLine, MonitorIncident
from stenobus_core.tokens import tokens_of

from .incidents import Entry

#: Seconds around an incident in which others may have to do with it.
_NEAR: Final = 300
#: Others that happen at the same time, and earlier ones that were alike.
_OTHERS, _PAST = 10, 5


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the dossier."""

    id: str
    kind: EvidenceKind
    source: str
    text: str
    #: The incident's own line of evidence, if it is one.
    line: str | None = None
    #: Components that it names.
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.id} [{self.kind}] {self.source}: {self.text}"


def gather(
    incident: MonitorIncident, others: Iterable[Entry], needs: Iterable[str], causes: dict[str, str], limit: int
) -> list[Fact]:
    """The facts, most telling first, as many as fit.

    Args:
        incident: what it is about.
        others: all incidents that are remembered.
        needs: components that the incident's own needs.
        causes: what earlier incidents came from, by their ids.
        limit: estimated tokens.
    """
    found: list[tuple[EvidenceKind, str, str, str | None]] = []
    found += [(line.kind, line.source, line.text, line.id) for line in _own(incident)]
    named: dict[str, tuple[str, ...]] = {}
    for says, components in (("needs", sorted(needs)), ("in trouble since:", incident.affected)):
        if components:
            text = f"{says} {', '.join(components)}"
            named[text] = tuple(components)
            found.append(("state", incident.component, text, None))
    entries = list(others)
    for other in _meanwhile(incident, entries):
        found.append(("incident", other.component, f"{other.kind} at the same time: {other.title}", None))
        found += [(line.kind, line.source, line.text, None) for line in other.evidence[:3]]
    for other in _alike(incident, entries):
        cause = causes.get(other.incident_id)
        was = f"; its cause was {cause}" if cause else ""
        found.append(("incident", other.component, f"{other.kind} on {other.started_at:%Y-%m-%d %H:%M}{was}", None))
    facts: list[Fact] = []
    left = limit
    for kind, source, text, line in found:
        fact = Fact(f"E{len(facts) + 1}", kind, source, text, line, named.get(text, ()))
        left -= tokens_of(str(fact)) + 1
        if left < 0:
            break
        facts.append(fact)
    return facts


def _own(incident: MonitorIncident) -> Sequence[EvidenceLine]:
    """What the watched thing did not write itself comes first."""
    return sorted(incident.evidence, key=lambda line: line.kind == "log")


def _meanwhile(incident: MonitorIncident, entries: Sequence[Entry]) -> list[MonitorIncident]:
    near = [
        (abs((entry.incident.started_at - incident.started_at).total_seconds()), entry.incident)
        for entry in entries
        if entry.incident.incident_id != incident.incident_id and not entry.incident.silenced
    ]
    close = sorted(((apart, other) for apart, other in near if apart <= _NEAR), key=lambda pair: pair[0])
    return [other for _, other in close[:_OTHERS]]


def _alike(incident: MonitorIncident, entries: Sequence[Entry]) -> list[MonitorIncident]:
    """Earlier ones of the same kind, those of the same component first, the latest first."""
    past = [
        entry.incident
        for entry in entries
        if entry.incident.kind == incident.kind
        and (incident.started_at - entry.incident.started_at).total_seconds() > _NEAR
    ]
    past.sort(key=lambda each: each.started_at, reverse=True)
    past.sort(key=lambda each: each.component != incident.component)
    return past[:_PAST]
