"""Everything that is known of one incident: what happened, why, what was done, and what people say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stenobus_contracts import MonitorDiagnosed, MonitorIncident

from .diagnosis import by_rule
from .proposals import actions

if TYPE_CHECKING:
    from .labels import Label
    from .store import Store


@dataclass(frozen=True, slots=True)
class Account:
    """One incident and what belongs to it."""

    incident: MonitorIncident
    #: Found out by code or a model; the rule's own conclusion until then.
    diagnosis: MonitorDiagnosed
    label: Label | None = None

    @classmethod
    async def read(cls, store: Store, incident_id: str) -> Account | None:
        """What the store knows of an incident, None when it does not know it. Raises ServerUnavailable."""
        entry = await store.incident(incident_id)
        if entry is None:
            return None
        record = await store.diagnosis(incident_id)
        return cls(entry.incident, record.found or by_rule(entry.incident), await store.label(incident_id))

    @property
    def action_kinds(self) -> set[str]:
        """Kinds of actions that were proposed for it."""
        return {action.kind for action in actions(self.incident.model_copy(update={"status": "open"}))}

    def document(self) -> dict[str, Any]:
        """As JSON: the incident's own fields, with what belongs to it beside them."""
        found = self.incident.model_dump(mode="json", exclude_none=True)
        found["diagnosis"] = self.diagnosis.model_dump(mode="json", exclude_none=True, exclude={"incident_id"})
        if self.label is not None:
            found["label"] = self.label.model_dump(mode="json", exclude_none=True, exclude={"incident_id", "kind"})
        return found
