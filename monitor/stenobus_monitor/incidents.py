"""Incidents: one per cause, from the first sign to the end of it, whatever rules find how often.

::

    sign → waiting → open → (well again) → resolved
             │         ↑ more signs: occurrences; a more precise kind or another severity: a new revision
             └ too few of them within the window: forgotten
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel

from stenobus_bus.envelope import derived_id
from stenobus_contracts import EvidenceLine, MonitorIncident

from .findings import Finding, Recovery, Trouble
from .graph import Graph
from .silences import Silence

#: Lines of evidence that one incident keeps: the first ones and the latest.
_FIRST_LINES, _LAST_LINES = 20, 20
_AFFECTED: Final = 50
#: Open incidents. More of them say nothing more, and a flood must not fill the store.
_MOST: Final = 500
#: An incident that began this long before its cause was found still counts as following from it.
_FOLLOWS: Final = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Policy:
    """When signs become an incident, and when it is over."""

    #: What belongs together comes together: an incident waits this long before it is told.
    group_wait: timedelta = timedelta(seconds=0.3)
    #: It must stay well this long before it counts as over.
    settle: timedelta = timedelta(seconds=30)
    #: Signs that a kind needs within ``window``; one when it is not named.
    thresholds: Mapping[str, int] = field(default_factory=dict)
    window: timedelta = timedelta(minutes=10)


class Entry(BaseModel):
    """An incident and what is needed to go on with it."""

    incident: MonitorIncident
    status: Literal["waiting", "open", "resolved"] = "waiting"
    cause: str = ""
    symptom: bool = True
    latest_at: datetime
    #: Well since then, if nothing comes in between.
    well_since: datetime | None = None
    #: Latest revision that the bus has.
    published: int = 0

    @property
    def due(self) -> bool:
        """Whether there is something to publish."""
        return self.status != "waiting" and self.published < self.incident.revision


class Incidents:
    """All that is wrong now.

    Args:
        silences: what nobody wants to hear of; asked when an incident opens.
    """

    def __init__(
        self,
        graph: Graph,
        policy: Policy = Policy(),
        silences: Callable[[], Iterable[Silence]] = tuple,
    ) -> None:
        self._graph, self._policy, self._silences = graph, policy, silences
        #: By fingerprint.
        self.entries: dict[str, Entry] = {}

    def take(self, finding: Finding) -> None:
        """Take what a rule found."""
        entry = self.entries.get(finding.fingerprint)
        if isinstance(finding, Trouble):
            if entry is None:
                self._begin(finding)
            else:
                self._again(entry, finding)
        elif isinstance(finding, Recovery) and entry is not None and entry.well_since is None:
            entry.well_since = finding.at
            entry.incident = _changed(entry, evidence=_merged(entry.incident.evidence, finding.evidence))

    def tick(self, now: datetime) -> list[Entry]:
        """What became of everything by now.

        Returns:
            Entries with something to publish. Whoever has published one sets its ``published``; until then it is
            returned again.
        """
        for entry in list(self.entries.values()):
            if entry.status == "waiting":
                self._wait(entry, now)
            if entry.status == "open" and entry.well_since and now - entry.well_since >= self._policy.settle:
                entry.status = "resolved"
                self._revise(entry, status="resolved", resolved_at=entry.well_since)
        return self.due

    @property
    def due(self) -> list[Entry]:
        """Entries with something to publish."""
        return [entry for entry in self.entries.values() if entry.due]

    def settle(self, entry: Entry, revision: int) -> None:
        """A revision is published. One that is resolved is forgotten here: its next time is another incident."""
        entry.published = max(entry.published, revision)
        if entry.status == "resolved" and not entry.due:
            self.entries.pop(entry.incident.fingerprint, None)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Go on with what was open when the process before this one ended."""
        for entry in entries:
            if entry.status != "resolved" or entry.due:
                self.entries[entry.incident.fingerprint] = entry

    def by_id(self, incident_id: str | None) -> Entry | None:
        """An incident that is not over."""
        return next((each for each in self.entries.values() if each.incident.incident_id == incident_id), None)

    # --- signs -------------------------------------------------------------------------------------------------------

    def _begin(self, trouble: Trouble) -> None:
        if len(self.entries) >= _MOST:
            return
        incident = MonitorIncident(
            incident_id=derived_id("incident", trouble.fingerprint, trouble.at.isoformat())[:16],
            fingerprint=trouble.fingerprint,
            kind=trouble.kind,
            severity=trouble.severity,
            title=trouble.title,
            component=trouble.component,
            evidence=_merged((), trouble.evidence),
            started_at=trouble.at,
        )
        self.entries[trouble.fingerprint] = Entry(
            incident=incident, cause=trouble.cause, symptom=trouble.symptom, latest_at=trouble.at
        )

    def _again(self, entry: Entry, trouble: Trouble) -> None:
        was, entry.latest_at = entry.incident, max(entry.latest_at, trouble.at)
        entry.well_since, entry.symptom = None, entry.symptom and trouble.symptom
        occurrences = was.occurrences + trouble.again
        changes = {
            "kind": trouble.kind,
            "severity": trouble.severity,
            "title": trouble.title,
            "occurrences": occurrences,
            "evidence": _merged(was.evidence, trouble.evidence),
        }
        # People hear of a change, and of the second, fourth, eighth time: not of each.
        doubled = occurrences > was.occurrences and occurrences & (occurrences - 1) == 0
        if entry.status == "resolved":  # its end was not told yet, and is none
            entry.status = "open"
            self._revise(entry, status="open", resolved_at=None, **changes)
        elif entry.status == "open" and (was.kind != trouble.kind or was.severity != trouble.severity or doubled):
            self._revise(entry, **changes)
        else:
            entry.incident = _changed(entry, **changes)

    def _wait(self, entry: Entry, now: datetime) -> None:
        incident, policy = entry.incident, self._policy
        needed = policy.thresholds.get(incident.kind, 1)
        if incident.occurrences < needed:
            if now - entry.latest_at >= policy.window:
                del self.entries[incident.fingerprint]
            return
        if now - entry.latest_at < policy.group_wait and now - incident.started_at < 5 * policy.group_wait:
            return
        entry.status = "open"
        silenced = any(silence.covers(incident, now) for silence in self._silences())
        entry.incident = _changed(entry, silenced=silenced)
        self._correlate(entry)

    # --- what follows from what --------------------------------------------------------------------------------------

    def _correlate(self, entry: Entry) -> None:
        """Find the incident that this one follows from, and those that follow from it."""
        if entry.symptom and (root := self._root(entry)) is not None:
            self._follow(entry, root)
        if not _proven(entry.incident):
            return  # a log explains; whoever writes it must not be able to hide what others suffer from
        component = entry.incident.component
        for other in self.entries.values():
            late = entry.incident.started_at - other.incident.started_at
            follows = (
                other.symptom and other.incident.caused_by is None and other.status == "open" and other is not entry
            )
            if follows and late <= _FOLLOWS and component in self._graph.needs(other.incident.component):
                self._follow(other, entry)
                self._revise(other)

    def _follow(self, entry: Entry, root: Entry) -> None:
        entry.incident = _changed(entry, caused_by=root.incident.incident_id)
        affected = dict.fromkeys([*root.incident.affected, entry.incident.component])
        if len(affected) <= _AFFECTED:
            changes = {"affected": tuple(affected)}
            if root.status == "open" and root.published:
                self._revise(root, **changes)
            else:
                root.incident = _changed(root, **changes)

    def _root(self, entry: Entry) -> Entry | None:
        """The incident furthest down among those of what the component needs."""
        needs = self._graph.needs(entry.incident.component)
        found = [
            each
            for each in self.entries.values()
            if each.incident.component in needs and each.well_since is None and _proven(each.incident)
        ]
        return min(found, key=lambda each: len(self._graph.needs(each.incident.component)), default=None)

    def _revise(self, entry: Entry, **changes: object) -> None:
        entry.incident = _changed(entry, revision=entry.incident.revision + 1, **changes)


def _proven(incident: MonitorIncident) -> bool:
    """Whether it rests on more than logs."""
    return any(line.kind != "log" for line in incident.evidence) or not incident.evidence


def _changed(entry: Entry, **changes: object) -> MonitorIncident:
    return entry.incident.model_copy(update=changes)


def _merged(known: tuple[EvidenceLine, ...], new: tuple[EvidenceLine, ...]) -> tuple[EvidenceLine, ...]:
    """The first lines and the latest, each once."""
    ids = {line.id for line in known}
    lines = [*known, *(line for line in new if line.id not in ids)]
    if len(lines) > _FIRST_LINES + _LAST_LINES:
        lines = [*lines[:_FIRST_LINES], *lines[-_LAST_LINES:]]
    return tuple(lines)
