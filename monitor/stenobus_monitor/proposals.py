"""Which remedies an incident calls for: its kind alone decides, no text of a log. The target is its component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from stenobus_bus.envelope import derived_id
from stenobus_contracts import Action, MonitorIncident


@dataclass(frozen=True, slots=True)
class Call:
    """A remedy for a kind of incident."""

    #: Of action.
    kind: str
    #: Of component; its name is the target.
    component: str = "container"
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    #: Parameters besides, once the incident is critical: another action, so that who approved the one gets no other.
    critical: Mapping[str, JsonValue] = field(default_factory=dict)


_RESTART: Final = (Call("restart"),)
#: Trouble that a new image may have brought.
_NEW_IMAGE: Final = (*_RESTART, Call("rollback"))
#: What each kind of incident calls for. A process that died for want of memory is not helped by a restart alone.
CALLS: Final[Mapping[str, tuple[Call, ...]]] = {
    "container.crashed": _RESTART,
    "container.exited": _RESTART,
    "container.crash_loop": _NEW_IMAGE,
    "container.unhealthy": _NEW_IMAGE,
    "container.hung": _RESTART,
    "container.oom": (Call("limits", parameters={"memory": 1.5}),),
    "event.kills_worker": (Call("quarantine", "event"),),
    "handler.dead_letters": (Call("pause", "handler"),),
    "handler.letters_left": (Call("replay", "handler", {"letters": True}),),
    "handler.held": (Call("resume", "handler"),),
    "run.orphaned": (Call("replay", "run"),),
    "disk.full": (Call("clean", "disk", critical={"at_once": True}),),
}


def actions(incident: MonitorIncident) -> list[Action]:
    """The remedies that an incident calls for; none where people have to decide alone.

    What rests on logs alone calls for nothing: whoever writes them could choose.
    """
    component, _, name = incident.component.partition(":")
    proven = any(line.kind != "log" for line in incident.evidence)
    if incident.status != "open" or incident.caused_by or incident.silenced or not proven or not name:
        return []
    return [_action(incident, call, name) for call in CALLS.get(incident.kind, ()) if call.component == component]


def _action(incident: MonitorIncident, call: Call, target: str) -> Action:
    """Each time that the trouble comes again is another action; whoever hears of one time twice has the same."""
    graver = call.critical if incident.severity == "critical" else {}
    identity = "action", incident.incident_id, call.kind, incident.component, incident.occurrences, *graver
    return Action(
        action_id=derived_id(*identity)[:16],
        incident_id=incident.incident_id,
        kind=call.kind,
        target=target,
        parameters={**call.parameters, **graver, "because": incident.kind},
    )
