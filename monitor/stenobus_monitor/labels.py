"""Labels: what people say of an incident's cause, and of what was done about it, once they know."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from stenobus_bus import Bus
from stenobus_bus.envelope import Envelope, derived_id
from stenobus_contracts import MonitorLabelled, Verdict

from .account import Account
from .errors import LabelRefused
from .hypotheses import HYPOTHESES

SOURCE: Final = "stenobus/monitor"


class Said(BaseModel):
    """What somebody says now; what is not said leaves what was said before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    right: bool | None = Field(default=None, description="whether the diagnosis is right")
    cause: str | None = Field(default=None, max_length=100, description="what it was: the name of a hypothesis")
    action: Verdict | None = Field(default=None, description="what became of the action")
    on: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z_-]{0,40}$",
        description="its kind, where there were several or none is known",
    )
    note: str | None = Field(default=None, max_length=1000)


class Label(BaseModel):
    """All that is said of one incident: the last word stands."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    incident_id: str
    #: Of the incident.
    kind: str
    #: The cause that the monitor named, and what it was if people say so.
    diagnosed: str
    cause: str | None = None
    right: bool | None = None
    #: By kind of action.
    actions: dict[str, Verdict] = Field(default_factory=dict)
    by: str = Field(max_length=200)
    note: str = ""
    at: datetime

    @property
    def sentence(self) -> str:
        """For people."""
        parts = []
        if self.right is not None:
            parts.append(f"the diagnosis {self.diagnosed} is {'right' if self.right else 'wrong'}")
        if self.cause is not None and not self.right:
            parts.append(f"it was {self.cause}")
        parts += [f"the action {kind} was {verdict}" for kind, verdict in sorted(self.actions.items())]
        note = f" ({self.note})" if self.note else ""
        return f"{', '.join(parts)}, says {self.by}{note}"


def label(account: Account, said: Said, by: str, at: datetime) -> Label:
    """What is said of an incident from now on.

    Raises:
        LabelRefused: it says nothing, contradicts itself, or names what there is not.
    """
    diagnosed, earlier = account.diagnosis.cause, account.label
    if said.cause is not None and said.cause not in HYPOTHESES:
        raise LabelRefused(f"There is no cause {said.cause}; known are {', '.join(sorted(HYPOTHESES))}.")
    if said.cause is not None and said.right is not None and said.right != (said.cause == diagnosed):
        raise LabelRefused(f"The diagnosis was {diagnosed}: it cannot be that and {said.cause} as well.")
    if said.right is None and said.cause is None and said.action is None:
        raise LabelRefused("Say what the cause was, whether the diagnosis is right, or what became of the action.")
    right = said.right if said.cause is None else said.cause == diagnosed
    actions = dict(earlier.actions) if earlier else {}
    if said.action is not None:
        actions[_kind(account, said.on)] = said.action
    if right is None and earlier is not None:
        diagnosed, cause, right = earlier.diagnosed, earlier.cause, earlier.right
    else:
        cause = said.cause or (diagnosed if right else None)
    return Label(
        incident_id=account.incident.incident_id,
        kind=account.incident.kind,
        diagnosed=diagnosed,
        cause=cause,
        right=right,
        actions=actions,
        by=by,
        note=said.note if said.note is not None else earlier.note if earlier else "",
        at=at,
    )


async def publish(bus: Bus, label: Label) -> None:
    """Tell everybody of a label. Raises BusError."""
    event = MonitorLabelled(**label.model_dump(exclude={"at"}))
    event_id = derived_id(label.incident_id, label.at)
    await bus.publish(event, Envelope.new(event, SOURCE, run=f"incident-{label.incident_id}", id=event_id))


def _kind(account: Account, named: str | None) -> str:
    kinds = sorted(account.action_kinds)
    if named is None and len(kinds) == 1:
        return kinds[0]
    if named is None:
        found = f"there were {', '.join(kinds)}" if kinds else "none is known of this incident"
        raise LabelRefused(f"Which kind of action? Of actions, {found}.")
    return named
