"""What happened in a case: everything the monitor said and did, with times."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from stenobus_contracts import EvidenceLine, Level


class Told(BaseModel):
    """An incident, as the monitor last told it while it was open. Times are seconds since the epoch."""

    id: str
    kind: str
    #: Every kind it had; it becomes more precise with time.
    kinds: tuple[str, ...] = ()
    component: str
    severity: str
    title: str
    status: Literal["open", "resolved"] = "open"
    caused_by: str | None = None
    evidence: tuple[EvidenceLine, ...] = ()
    #: When the server stored it first, and when standard output had it.
    stored: float | None = None
    alerted: float | None = None
    #: What the rule concludes, with the lines it rests on.
    rule_cause: str = "unknown"
    rule_cited: tuple[str, ...] = ()
    #: What was published as its cause.
    cause: str | None = None
    method: str | None = None
    cited: tuple[str, ...] = ()

    @property
    def detected(self) -> float | None:
        """When the monitor knew of it: where there is no bus, standard output has it alone."""
        times = [each for each in (self.stored, self.alerted) if each is not None]
        return min(times, default=None)


class Acted(BaseModel):
    """An action that was proposed or carried out."""

    id: str = ""
    kind: str
    target: str
    level: Level | None = None
    done: bool = False
    outcome: str = ""
    at: float


class Repaired(BaseModel):
    """A container that ended, and runs again. Times are the engine's, in seconds since the epoch."""

    service: str
    died: float
    #: Again running; where it has a health check, healthy.
    up: float
    #: By which action, when it was free to go ahead (approved, or automatic), and when it asked for the restart.
    action: str | None = None
    decided: float | None = None
    asked: float | None = None
    #: It was restarted because another one was.
    follows: bool = False
    #: Seconds that the engine gives it to end by itself.
    grace: float = 10.0

    @property
    def stop(self) -> float:
        """Seconds that its stop took; 0 for one that was dead already, or whose stop is not known."""
        return max(0.0, self.died - self.asked) if self.asked is not None and not self.follows else 0.0


class Outcome(BaseModel):
    """One run of a case."""

    case: str
    #: Seconds since the epoch.
    moment: float | None = None
    repairs: tuple[Repaired, ...] = ()
    incidents: tuple[Told, ...] = ()
    actions: tuple[Acted, ...] = ()
    #: Seconds that the whole case took.
    seconds: float = 0.0
    #: Seconds between two looks of the monitor at the bus.
    poll: float = 1.0
    #: Why the case could not be carried out.
    trouble: str | None = None
    #: Last lines of the monitor's own log, where something went wrong.
    log: str = ""
