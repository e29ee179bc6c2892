"""Holds: what nobody but people may touch for a while."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from stenobus_bus.envelope import derived_id
from stenobus_contracts import MonitorIncident


class Hold(BaseModel):
    """Actions on some components are not carried out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    component: str = Field(max_length=300, description="such as container:kb; wildcards allowed")
    #: None holds until somebody ends it.
    until: datetime | None = None
    by: str = Field(max_length=200)
    reason: str = Field(default="", max_length=1000)

    @property
    def said(self) -> str:
        """Who holds what, until when and why, in words."""
        until = f" until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else ""
        return f"{self.by} holds {self.component}{until}" + (f": {self.reason}" if self.reason else "")


def holding(holds: Iterable[Hold], component: str, now: datetime) -> Hold | None:
    """A hold on a component, if there is one."""
    held = (each for each in holds if each.until is None or now < each.until)
    return next((each for each in held if fnmatchcase(component, each.component)), None)


def stopped(incident: MonitorIncident) -> Hold:
    """The hold that follows from a stop by hand."""
    return Hold(
        id=f"stop-{derived_id(incident.component)[:12]}",
        component=_literal(incident.component),
        by="docker stop",
        reason="somebody stopped it; the hold ends when it runs again",
    )


def _literal(component: str) -> str:
    """A component of that name and no other."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in component)
