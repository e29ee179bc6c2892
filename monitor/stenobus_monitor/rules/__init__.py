"""Rules: from what was seen to what is wrong. Each keeps what it must remember, and none asks anybody anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from pydantic import JsonValue

from ..findings import Finding
from ..observations import Observation


class Rule:
    """One kind of trouble. Everything here may be left as it is; time comes from observations and ticks alone."""

    #: Key of its state in the store; never changes.
    name: ClassVar[str]

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """What follows from one observation."""
        return ()

    def tick(self, now: datetime) -> Iterable[Finding]:
        """What follows from the time alone; called about once a second."""
        return ()

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """An incident that this rule may have found is open since the process before this one: see it end, too."""

    def state(self) -> JsonValue:
        """What must survive a restart; None for nothing."""
        return None

    def restore(self, state: JsonValue) -> None:
        """Go on from a state of its own, perhaps that of an older version."""
