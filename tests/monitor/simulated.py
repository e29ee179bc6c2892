"""A simulated clock, and observations as collectors would make them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from stenobus_core.runs import Step, Try
from stenobus_monitor.containers import Container
from stenobus_monitor.findings import Finding, Recovery, Trouble
from stenobus_monitor.observations import HandlerSeen, Observation, StepSeen
from stenobus_monitor.rules import Rule

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ids = itertools.count(1)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def container(name: str = "worker", *, started: float = 0, **more: Any) -> Container:
    labels = {**more.pop("labels", {})}
    return Container(id=f"id-{name}", name=name, started=at(started), restart_policy="always", labels=labels, **more)


def handler(seconds: float, **more: Any) -> HandlerSeen:
    """A handler that rests: nothing waits, one process asks for work."""
    rest: dict[str, Any] = {
        "handler": "asr", "stream": "MEDIA", "plugin": "asr", "pending": 0, "unsettled": 0, "redelivered": 0,
        "unsettled_limit": 100, "subjects": ("media.uploaded",),
        "waiting": 1, "paused": False, "floor": 10, "oldest": None, "processes": 1, "in_hand": 0, "slots": 2,
        "handled": 10, "failures": 0,
    }  # fmt: skip
    return HandlerSeen(at=at(seconds), **{**rest, **more})


def step(moment: float, status: str = "done", *, kills: int = 0, **more: Any) -> StepSeen:
    """A step of a run as it is written at a time."""
    number = next(_ids)
    fields: dict[str, Any] = {
        "run": f"run-{number}",
        "handler": "asr",
        "event_id": f"e{number}",
        "started": at(moment - 1),
        **more,
    }
    tries = tuple(Try(attempt=each + 1, started=at(each), error="gone") for each in range(kills))
    return StepSeen(at=at(moment), step=Step(subject="media.uploaded", status=status, tries=tries, **fields))  # type: ignore[arg-type]


class Story:
    """What a rule finds in what happens, one thing after the other."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.found: list[Finding] = []

    def sees(self, *observations: Observation) -> list[Finding]:
        new = [finding for seen in observations for finding in self.rule.observe(seen)]
        self.found += new
        return new

    def waits(self, seconds: float) -> list[Finding]:
        """Ticks at a time."""
        new = list(self.rule.tick(at(seconds)))
        self.found += new
        return new

    @property
    def kinds(self) -> list[str]:
        return [
            finding.kind if isinstance(finding, Trouble) else f"recovered {finding.cause}"
            for finding in self.found
            if isinstance(finding, Trouble | Recovery)
        ]
