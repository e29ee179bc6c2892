"""The self-monitor's own chain: incident, diagnosis, proposed, approved and done action."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from .event import Event, Model

Severity = Literal["info", "warning", "critical"]
#: Where a line of evidence comes from. What a ``log`` says was written by the watched thing itself: it explains, and
#: never by itself allows an action.
EvidenceKind = Literal["event", "state", "metric", "log", "bus", "run", "blob", "incident"]
#: What people say of an action afterwards.
Verdict = Literal["right", "wrong", "unsafe"]
#: How far an action may go by itself.
Level = Literal["observe", "propose", "approve", "automatic"]


class EvidenceLine(Model):
    """One observation an incident rests on."""

    id: str
    source: str = Field(description="where it was seen: a container, a consumer, a metric")
    text: str
    at: datetime | None = None
    kind: EvidenceKind = Field(
        default="state", description="what kind of place that is; a log explains, it proves nothing"
    )


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
    resolved_at: datetime | None = None
    revision: int = Field(default=1, ge=1, description="counts what was published about this incident")
    occurrences: int = Field(default=1, ge=1, description="how often the trouble was seen while the incident was open")
    caused_by: str | None = Field(default=None, description="id of the incident that this one follows from")
    affected: tuple[str, ...] = Field(default=(), description="components in trouble because of this one")
    silenced: bool = Field(default=False, description="somebody asked for silence about it: recorded, told to nobody")


class MonitorDiagnosed(Event, subject="monitor.diagnosed"):
    """The probable cause of an incident."""

    incident_id: str
    cause: str
    confidence: float = Field(ge=0, le=1)
    method: Literal["rule", "model"]
    evidence: tuple[str, ...] = Field(default=(), description="ids of the evidence lines it rests on")
    recommendation: str | None = None


class MonitorLabelled(Event, subject="monitor.labelled"):
    """What people say of an incident's diagnosis, and of what was done about it, once they know."""

    incident_id: str
    kind: str = Field(description="of the incident")
    diagnosed: str = Field(description="the cause that the monitor named")
    cause: str | None = Field(default=None, description="what it was, if they say so")
    right: bool | None = Field(default=None, description="whether the monitor named it; null when they do not say")
    actions: dict[str, Verdict] = Field(default_factory=dict, description="kind of action to what they say of it")
    by: str
    note: str = ""


class MonitorAlert(Event, subject="monitor.alert"):
    """Something that people are to hear of, through one channel."""

    channel: str = Field(description="name of the channel, as the monitor's settings have it")
    incident_id: str
    severity: Severity
    status: Literal["open", "diagnosed", "resolved", "proposed", "acted"]
    title: str
    text: str = Field(description="what happened, why, the evidence, and what to do; plain text")
    action_id: str | None = Field(default=None, description="the action that is proposed, for which a link may approve")


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
    level: Level = Field(default="observe", description="observe: only said; nobody carries it out")


class MonitorActionApproved(Event, subject="monitor.action.approved"):
    """Somebody allowed a remedy."""

    action_id: str
    approved_by: str
    token: str = Field(description="single-use approval token of the proposal")
    undo: bool = Field(default=False, description="to take back what was done, for which the token has to be")


class MonitorActionDone(Event, subject="monitor.action.done"):
    """A remedy was tried."""

    action: Action
    outcome: Literal["succeeded", "failed", "refused", "undone"]
    detail: str | None = None
