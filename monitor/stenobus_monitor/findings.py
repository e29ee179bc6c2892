"""What rules conclude from observations: something is in trouble, or no longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stenobus_bus.envelope import derived_id
from stenobus_contracts import EvidenceKind, EvidenceLine, Severity
from stenobus_core.sensitive import Kind, masked

#: Characters of one line of evidence.
_LONGEST = 600
#: What nobody needs to find a cause. Addresses they may need: the router hides those from whom they must not reach.
_MASKED: Final[tuple[Kind, ...]] = ("secret", "account", "email")


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
    """One line of evidence; its id follows from what it says, so that the same line is one line.

    Secrets are masked here, before anybody keeps, tells or asks about the line.
    """
    text = masked(" ".join(text.split())[: 2 * _LONGEST], _MASKED)[:_LONGEST]
    return EvidenceLine(id=derived_id(kind, source, text, at)[:12], source=source, text=text, at=at, kind=kind)
