"""Silences: what nobody wants to hear of for a while."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from stenobus_contracts import MonitorIncident


class Silence(BaseModel):
    """Incidents of some kinds at some components are recorded and told to nobody."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    kind: str = Field(default="*", max_length=200, description="kinds, wildcards allowed")
    component: str = Field(default="*", max_length=200, description="components, wildcards allowed")
    until: datetime
    by: str = Field(max_length=200)
    reason: str = Field(default="", max_length=1000)

    def covers(self, incident: MonitorIncident, now: datetime) -> bool:
        """Whether it speaks of an incident, and still holds."""
        return (
            now < self.until
            and fnmatchcase(incident.kind, self.kind)
            and fnmatchcase(incident.component, self.component)
        )
