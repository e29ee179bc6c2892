"""The self-monitor's own chain: incident, diagnosis, proposed, approved and done action."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from .event import Event, Model

Severity = Literal["info", "warning", "critical"]


class EvidenceLine(Model):
    """One observation an incident rests on."""

    id: str
    source: str = Field(description="where it was seen: a container, a consumer, a metric")
    text: str
    at: datetime | None = None


class MonitorIncident(Event, subject="monitor.incident"):
    """Something is wrong, or was and is over."""

    incident_id: str
    fingerprint: str = Field(description="equal for equal causes")
    kind: str
    severity: Severity
    status: Literal["open", "resolved"] = "open"
    title: str
    component: str
    evidence: tuple[EvidenceLine, ...] = ()
    started_at: datetime


class MonitorDiagnosed(Event, subject="monitor.diagnosed"):
    """The probable cause of an incident."""

    incident_id: str
    cause: str
    confidence: float = Field(ge=0, le=1)
    method: Literal["rule", "model"]
    evidence: tuple[str, ...] = Field(default=(), description="ids of the evidence lines it rests on")
    recommendation: str | None = None


class Action(Model):
    """A typed remedy."""

    action_id: str
    incident_id: str
    kind: str
    target: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class MonitorActionProposed(Event, subject="monitor.action.proposed"):
    """A remedy waits for approval."""

    action: Action
    reason: str
    dry_run: str | None = Field(default=None, description="what it would do")
    expires_at: datetime


class MonitorActionApproved(Event, subject="monitor.action.approved"):
    """Somebody allowed a remedy."""

    action_id: str
    approved_by: str
    token: str = Field(description="single-use approval token of the proposal")


class MonitorActionDone(Event, subject="monitor.action.done"):
    """A remedy was tried."""

    action: Action
    outcome: Literal["succeeded", "failed", "refused", "undone"]
    detail: str | None = None
