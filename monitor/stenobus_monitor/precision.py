"""How often the monitor is right, by what people said afterwards, and what may therefore be done without them.

A kind of action may be automatic for a kind of incident when the lower bound of its precision reaches the settings'
``trust``, over ``trust_labels`` labels or more. Three things are decided here beyond that:

- What nobody has labelled yet is not automatic, but for :data:`BY_DEFAULT`, which stays so until two labels speak
  against it. From then on it has to earn its bound like everything else.
- One ``unsafe`` closes it to everybody but people, whatever the bound, as long as the label is remembered.
- One incident has one voice: who labels it again changes the label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Final

from .labels import Label

#: Kinds of action that need no labels, each with its kind of incident: bringing back what died by itself.
BY_DEFAULT: Final = frozenset({("restart", "container.crashed"), ("restart", "container.exited")})
#: Labels against such a one that end this.
_ENOUGH: Final = 2
#: Of the normal distribution: 95 % lie within so many deviations on both sides.
_Z: Final = 1.959964


def wilson_lower(right: int, total: int) -> float:
    """The lower end of Wilson's 95 % interval of a share; 0 where there is nothing to count."""
    if not total:
        return 0.0
    share, z2 = right / total, _Z * _Z
    middle = share + z2 / (2 * total)
    spread = _Z * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, (middle - spread) / (1 + z2 / total))


@dataclass(slots=True)
class Tally:
    """What was said of one class."""

    right: int = 0
    #: Those that were unsafe included.
    wrong: int = 0
    unsafe: int = 0

    @property
    def lower(self) -> float:
        """Lower bound of its precision at 95 %."""
        return wilson_lower(self.right, self.right + self.wrong)

    def count(self, verdict: str) -> None:
        """Count one more."""
        self.right += verdict == "right"
        self.wrong += verdict != "right"
        self.unsafe += verdict == "unsafe"


@dataclass(slots=True)
class Tallies:
    """What was said of everything, by class."""

    #: By kind of incident and the cause that was named.
    causes: defaultdict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    #: By kind of action and kind of incident.
    actions: defaultdict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))


def tallies(labels: Iterable[Label]) -> Tallies:
    """Count labels, one voice for each incident."""
    found = Tallies()
    for label in labels:
        if label.right is not None:
            found.causes[label.kind, label.diagnosed].count("right" if label.right else "wrong")
        for action, verdict in label.actions.items():
            found.actions[action, label.kind].count(verdict)
    return found


def trusted(action_kind: str, incident_kind: str, tally: Tally, trust: float, least: int) -> bool:
    """Whether a kind of action may be automatic for a kind of incident; see the module.

    Args:
        trust: what the lower bound has to reach, between 0 and 1.
        least: labels that this takes.
    """
    if tally.unsafe:
        return False
    if (action_kind, incident_kind) in BY_DEFAULT and tally.wrong < _ENOUGH:
        return True
    return tally.right + tally.wrong >= least and tally.lower >= trust


class Precision:
    """Answers whether an action may be automatic, by the labels as they are at that moment.

    Args:
        labels: reads all of them, such as :meth:`stenobus_monitor.store.Store.labels`.
        trust, least: see :func:`trusted`.
    """

    def __init__(self, labels: Callable[[], Awaitable[list[Label]]], trust: float, least: int) -> None:
        self._labels, self._trust, self._least = labels, trust, least

    async def allows(self, kind: str, incident_kind: str) -> bool:
        """Whether a kind of action may. What the store of labels raises passes through: who cannot ask must not act."""
        tally = tallies(await self._labels()).actions[kind, incident_kind]
        return trusted(kind, incident_kind, tally, self._trust, self._least)
