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

    kind: str
    target: str
    level: Level | None = None
    done: bool = False
    outcome: str = ""
    at: float


class Outcome(BaseModel):
    """One run of a case."""

    case: str
    #: Seconds since the epoch.
    moment: float | None = None
    repaired: float | None = None
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
