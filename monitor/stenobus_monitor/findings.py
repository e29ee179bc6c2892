"""What rules conclude from observations: something is in trouble, or no longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stenobus_bus.envelope import derived_id
from stenobus_contracts import EvidenceKind, EvidenceLine, Severity

#: Characters of one line of evidence.
_LONGEST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One conclusion.

    ``cause`` and ``component`` together say which trouble it is; the kind may become more precise with time.
    """

    at: datetime
    cause: str
    component: str

    @property
    def fingerprint(self) -> str:
        """Equal for equal causes."""
        return derived_id("fingerprint", self.cause, self.component)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(Finding):
    """Something is wrong."""

    kind: str
    severity: Severity
    title: str
    evidence: tuple[EvidenceLine, ...] = ()
    #: May follow from trouble of something that the component depends on.
    symptom: bool = True
    #: It happened once more; false when it merely goes on.
    again: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery(Finding):
    """What was wrong looks right again."""

    evidence: tuple[EvidenceLine, ...] = ()


def line(kind: EvidenceKind, source: str, text: str, at: datetime | None = None) -> EvidenceLine:
    """One line of evidence; its id follows from what it says, so that the same line is one line."""
    text = " ".join(text.split())[:_LONGEST]
    return EvidenceLine(id=derived_id(kind, source, text, at)[:12], source=source, text=text, at=at, kind=kind)
