"""What people read of an incident."""

from __future__ import annotations

from stenobus_contracts import MonitorIncident

#: Lines of evidence in an alert.
_EVIDENCE = 3


def alert_line(incident: MonitorIncident) -> str:
    """One line: what happened, where, and the best of the evidence."""
    if incident.status == "resolved":
        lasted = (incident.resolved_at - incident.started_at).total_seconds() if incident.resolved_at else 0
        return f"RESOLVED {incident.incident_id} {incident.title} (after {lasted:.0f} s)"
    lines = [line.text for line in incident.evidence if line.kind != "log"][:_EVIDENCE]
    times = f" ×{incident.occurrences}" if incident.occurrences > 1 else ""
    affected = f" [affects {', '.join(incident.affected)}]" if incident.affected else ""
    return f"{incident.severity.upper()} {incident.incident_id} {incident.title}{times}: {'; '.join(lines)}{affected}"
