"""What people read of an action: that it is proposed and how to approve it, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stenobus_contracts import Action, MonitorActionDone, MonitorActionProposed, MonitorAlert, MonitorIncident

from .actions.course import Course
from .channels import Channel

#: What a person types instead, by kind of action.
_BY_HAND: Final = {
    "restart": "docker restart {target}",
    "limits": "docker update --memory … --memory-swap … {target}",
}


def proposed_text(event: MonitorActionProposed, link: str | None = None) -> str:
    """What would be done, why, and what it takes."""
    action = event.action
    lines = [f"Proposed: {event.dry_run}", f"Why: {event.reason}"]
    if event.level == "approve":
        lines.append(f"Approve until {event.expires_at:%H:%M} UTC: stenobus monitor approve {action.action_id}")
    elif action.kind in _BY_HAND:
        lines.append(f"By hand: {_BY_HAND[action.kind].format(target=action.target)}")
    lines.append(f"More: stenobus monitor actions {action.action_id}")
    if link is not None:
        lines.append(f"Approve by link: {link}")
    return "\n".join(lines)


def done_text(event: MonitorActionDone, undoable: bool = False) -> str:
    """What came of it, and how to take it back where that can be."""
    action_id = event.action.action_id
    back = [f"Take it back: stenobus monitor approve {action_id} --undo"] if undoable else []
    return "\n".join([said(event), *back, f"More: stenobus monitor actions {action_id}"])


def said(event: MonitorActionDone) -> str:
    """What came of an action, in one line."""
    detail = f": {event.detail}" if event.detail else ""
    return f"{event.action.kind} of {event.action.target} {event.outcome}{detail}"


def summary(courses: Iterable[Course], incident: MonitorIncident) -> list[str]:
    """What was done about an incident, a line each."""
    return [said(c.done) for c in courses if c.done is not None and c.action.incident_id == incident.incident_id]


def action_alerts(
    event: MonitorActionProposed | MonitorActionDone,
    incident: MonitorIncident,
    channels: Iterable[Channel],
    *,
    link: str | None = None,
    undoable: bool = False,
) -> list[MonitorAlert]:
    """What goes to each channel that takes the incident.

    Args:
        event: of the action.
        incident: that it is about.
        channels: all there are.
        link: where the proposal is approved, None where it is not.
        undoable: whether what was done can be taken back.
    """
    action: Action = event.action
    proposed = isinstance(event, MonitorActionProposed)
    return [
        MonitorAlert(
            channel=channel.name,
            incident_id=incident.incident_id,
            severity=incident.severity,
            status="proposed" if isinstance(event, MonitorActionProposed) else "acted",
            title=incident.title,
            text=proposed_text(event, link) if isinstance(event, MonitorActionProposed) else done_text(event, undoable),
            action_id=action.action_id if proposed else None,
        )
        for channel in channels
        if channel.takes(incident.severity, incident.kind)
    ]
