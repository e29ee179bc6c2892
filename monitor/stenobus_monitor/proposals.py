"""Which remedy an incident calls for. The kind alone decides, never the text of a log; the target is the component."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from stenobus_bus.envelope import derived_id
from stenobus_contracts import Action, MonitorActionProposed, MonitorIncident

#: Kinds whose container is helped by a restart. A process that dies for want of memory is not: it would die again.
_RESTART: Final = frozenset({"container.crashed", "container.exited", "container.unhealthy", "container.hung"})
#: How long a proposal holds.
_HOLDS: Final = timedelta(minutes=15)


def proposal(incident: MonitorIncident, now: datetime) -> MonitorActionProposed | None:
    """The remedy to propose, None when there is none or people have to decide alone.

    What rests on logs alone calls for nothing: whoever writes them could choose.
    """
    if incident.status != "open" or incident.caused_by or incident.silenced:
        return None
    proven = [line for line in incident.evidence if line.kind != "log"]
    kind, _, name = incident.component.partition(":")
    if kind != "container" or incident.kind not in _RESTART or not proven:
        return None
    action_id = derived_id("action", incident.incident_id, "restart", incident.component)[:16]
    return MonitorActionProposed(
        action=Action(action_id=action_id, incident_id=incident.incident_id, kind="restart", target=name),
        reason=f"{incident.title}; {proven[0].text}",
        dry_run=f"would restart the container {name}, then those that need it, in order",
        expires_at=now + _HOLDS,
    )
