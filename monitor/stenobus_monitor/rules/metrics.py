"""Figures of Prometheus above what somebody called too high."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import MetricSeen, Observation
from . import Rule

#: Looks in a row that must say so.
_LOOKS: Final = 2
#: Series that are followed.
_MOST: Final = 2000


class Metrics(Rule):
    """Compares, and nothing else: what is too high is somebody's setting."""

    name = "metrics"

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """One value."""
        if not isinstance(seen, MetricSeen):
            return
        component = f"metric:{seen.query}" + (f"{{{seen.labels}}}" if seen.labels else "")
        looks = self._looks.get(component, 0)
        text = f"{seen.value:g}; above {seen.above:g} is too high"
        if seen.value > seen.above and (looks or len(self._looks) < _MOST):
            self._looks[component] = looks + 1
            if looks + 1 >= _LOOKS:
                first = looks + 1 == _LOOKS
                yield Trouble(
                    at=seen.at,
                    cause="metric",
                    component=component,
                    kind="metric.high",
                    severity="warning",
                    title=f"{seen.query} is {seen.value:g}, above {seen.above:g}",
                    evidence=(line("metric", component, text, seen.at),) if first else (),
                    again=first,
                )
        elif seen.value <= seen.above and self._looks.pop(component, 0) >= _LOOKS:
            yield Recovery(
                at=seen.at, cause="metric", component=component, evidence=(line("metric", component, text, seen.at),)
            )

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A figure that was too high."""
        if cause == "metric":
            self._looks[component] = _LOOKS
