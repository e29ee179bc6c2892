"""When silence is trouble: what the watchdog concludes from what it hears, by its own clock and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: Beats that may be missed.
MISSED: Final = 3
#: Seconds between two beats before the first one says so.
_USUAL: Final = 5.0

Trouble = Literal["monitor.silent", "bus.unreachable"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people, once."""

    kind: Trouble
    status: Literal["open", "resolved"]
    #: Seconds it has lasted.
    lasted: float


class Vigil:
    """Counts silence.

    Only time in which somebody listened counts, a look's own time at most: a watchdog that slept itself, or that could
    not ask, has heard nothing and knows nothing.

    Args:
        look: seconds that one look takes at most, with the pause before it.
        now: monotonic seconds.
    """

    def __init__(self, look: float, now: float) -> None:
        self._look, self._every, self._latest = look, _USUAL, now
        self._place: int | None = None
        self._began = False
        self._silent = self._away = 0.0
        #: What is told and not over: since when.
        self.open: dict[Trouble, float] = {}

    def answered(self, place: int | None, every: float | None, now: float) -> list[Notice]:
        """The server answered.

        Args:
            place: of the latest beat in the bucket's stream; None where there is none.
            every: seconds between two beats, as that one says.
            now: monotonic seconds.
        """
        passed, self._away = self._passed(now), 0.0
        notices = self._over("bus.unreachable", now)
        if notices:  # the monitor could not beat either
            self._silent = 0.0
        # A beat that lay there at the beginning may be an old one: it says the rhythm, and proves nothing.
        began, self._began = self._began, True
        if place is not None and place != self._place:
            self._place, self._every = place, every or _USUAL
            if began:
                self._silent = 0.0
                return [*notices, *self._over("monitor.silent", now)]
        self._silent += passed
        return [*notices, *self._begin("monitor.silent", self._silent, now)]

    def unanswered(self, now: float) -> list[Notice]:
        """The server did not answer. What the monitor does is not known meanwhile."""
        self._away += self._passed(now)
        return self._begin("bus.unreachable", self._away, now)

    def _passed(self, now: float) -> float:
        passed, self._latest = min(now - self._latest, self._look), now
        return passed

    def _begin(self, kind: Trouble, lasted: float, now: float) -> list[Notice]:
        if lasted < MISSED * self._every or kind in self.open:
            return []
        self.open[kind] = now - lasted
        return [Notice(kind, "open", lasted)]

    def _over(self, kind: Trouble, now: float) -> list[Notice]:
        since = self.open.pop(kind, None)
        return [] if since is None else [Notice(kind, "resolved", now - since)]
