"""What people read of an incident."""

from __future__ import annotations

from collections.abc import Iterable

from stenobus_contracts import EvidenceLine, MonitorAlert, MonitorDiagnosed, MonitorIncident

from .channels import Channel
from .hypotheses import HYPOTHESES

#: Lines of evidence in a line, and in a message.
_FEW, _SOME = 3, 6


def alert_line(incident: MonitorIncident) -> str:
    """One line: what happened, where, and the best of the evidence."""
    if incident.status == "resolved":
        return f"RESOLVED {incident.incident_id} {incident.title} ({_lasted(incident)})"
    lines = [line.text for line in incident.evidence if line.kind != "log"][:_FEW]
    times = f" ×{incident.occurrences}" if incident.occurrences > 1 else ""
    affected = f" [affects {', '.join(incident.affected)}]" if incident.affected else ""
    return f"{incident.severity.upper()} {incident.incident_id} {incident.title}{times}: {'; '.join(lines)}{affected}"


def alerts(
    incident: MonitorIncident, cause: MonitorDiagnosed, channels: Iterable[Channel], done: Iterable[str] = ()
) -> list[MonitorAlert]:
    """What goes to each channel that takes the incident: that it opened, changed, is explained, or is over.

    Args:
        incident: what happened.
        cause: its probable cause, as far as it is known.
        channels: all there are.
        done: what was done about it, a line each.
    """
    if incident.status == "resolved":
        ask = f"Was the diagnosis right? stenobus monitor label {incident.incident_id} --right, or --wrong"
        lines = [f"Resolved: {_lasted(incident)}.", *(f"Done: {each}" for each in done), ask]
        status, text = "resolved", "\n".join(lines)
    else:
        status, text = "diagnosed" if cause.method == "model" else "open", _text(incident, cause)
    return [
        MonitorAlert(
            channel=channel.name,
            incident_id=incident.incident_id,
            severity=incident.severity,
            status=status,
            title=incident.title,
            text=text,
        )
        for channel in channels
        if channel.takes(incident.severity, incident.kind)
    ]


def _text(incident: MonitorIncident, cause: MonitorDiagnosed) -> str:
    times = f", {incident.occurrences} times" if incident.occurrences > 1 else ""
    lines = [f"{incident.component}, since {incident.started_at:%Y-%m-%d %H:%M:%S} UTC{times}"]
    if incident.affected:
        lines.append(f"Affected: {', '.join(incident.affected)}")
    who = "a language model, with quotes" if cause.method == "model" else "rule"
    lines.append(f"Probable cause: {HYPOTHESES[cause.cause].says} ({cause.cause}, {cause.confidence:.1f}, by {who})")
    lines.append("Evidence:")
    lines += [f"- [{line.kind}] {line.source}: {line.text}" for line in _best(incident, cause)]
    if cause.recommendation:
        lines.append(f"Recommended: {cause.recommendation}")
    lines.append(f"More: stenobus monitor show {incident.incident_id}")
    return "\n".join(lines)


def _best(incident: MonitorIncident, cause: MonitorDiagnosed) -> list[EvidenceLine]:
    """What proves the cause, then what a program did not write itself, then logs."""
    return sorted(incident.evidence, key=lambda line: (line.id not in cause.evidence, line.kind == "log"))[:_SOME]


def _lasted(incident: MonitorIncident) -> str:
    lasted = (incident.resolved_at - incident.started_at).total_seconds() if incident.resolved_at else 0
    return f"after {lasted:.0f} s"
