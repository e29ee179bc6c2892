"""Everything that is known of one incident: what happened, why, what was done, and what people say of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from stenobus_contracts import Action, Level, MonitorDiagnosed, MonitorIncident

from .actions.course import Course, Outcome, Stage, Step
from .diagnosis import by_rule
from .proposals import actions

if TYPE_CHECKING:
    from .labels import Label
    from .store import Store


class Deed(BaseModel):
    """An action as people see it: without the approval's token, and without what is for the remedy alone."""

    action: Action
    incident_kind: str
    component: str
    level: Level
    reason: str
    dry_run: str
    expires_at: datetime
    stage: Stage
    outcome: Outcome | None
    detail: str
    approved_by: str
    trail: tuple[Step, ...]

    @classmethod
    def of(cls, course: Course) -> Deed:
        """What people may see of it."""
        return cls.model_validate(course.model_dump(include=set(cls.model_fields)))

    @property
    def sentence(self) -> str:
        """What has become of it, for people."""
        became = self.outcome or f"{self.stage}, level {self.level}"
        approved = f", approved by {self.approved_by}" if self.approved_by else ""
        return f"{self.action.kind} {self.action.target}: {became}{approved}; {self.detail or self.dry_run}"


@dataclass(frozen=True, slots=True)
class Account:
    """One incident and what belongs to it."""

    incident: MonitorIncident
    #: Found out by code or a model; the rule's own conclusion until then.
    diagnosis: MonitorDiagnosed
    label: Label | None = None
    #: The oldest first.
    deeds: tuple[Deed, ...] = ()

    @classmethod
    async def read(cls, store: Store, incident_id: str) -> Account | None:
        """What the store knows of an incident, None when it does not know it. Raises ServerUnavailable."""
        entry = await store.incident(incident_id)
        if entry is None:
            return None
        record = await store.diagnosis(incident_id)
        courses = [course for course in await store.courses() if course.action.incident_id == incident_id]
        return cls(
            entry.incident,
            record.found or by_rule(entry.incident),
            await store.label(incident_id),
            tuple(map(Deed.of, courses)),
        )

    @property
    def action_kinds(self) -> set[str]:
        """Kinds of actions that were proposed for it; before that, those that it calls for."""
        called = actions(self.incident.model_copy(update={"status": "open"}))
        return {deed.action.kind for deed in self.deeds} or {action.kind for action in called}

    def document(self) -> dict[str, Any]:
        """As JSON: the incident's own fields, with what belongs to it beside them."""
        found = self.incident.model_dump(mode="json", exclude_none=True)
        found["diagnosis"] = self.diagnosis.model_dump(mode="json", exclude_none=True, exclude={"incident_id"})
        found["actions"] = [deed.model_dump(mode="json", exclude_none=True) for deed in self.deeds]
        if self.label is not None:
            found["label"] = self.label.model_dump(mode="json", exclude_none=True, exclude={"incident_id", "kind"})
        return found
