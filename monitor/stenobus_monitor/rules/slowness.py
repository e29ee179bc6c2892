"""Stages that take longer than they themselves took in the last seven days."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Final

from stenobus_core.runs import Step

from ..baseline import Baseline
from ..findings import Finding, Recovery, Trouble, line
from ..observations import Observation, StepSeen, StepsRead
from . import Rule

#: Steps in a row whose median counts: one long recording is no slow stage.
_RECENT: Final = 3
#: Seconds below which nothing is slow.
_LEAST: Final = 1.0
#: Steps in work that are followed, by stage.
_MOST: Final = 1000


@dataclass(slots=True)
class _Stage:
    """One handler's times."""

    usual: Baseline = field(default_factory=Baseline)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    #: Steps in work: key to their beginning.
    working: dict[str, datetime] = field(default_factory=dict)
    told: bool = False


class Slowness(Rule):
    """Answers from the cache count as nothing: they would make every real one look slow."""

    name = "slowness"

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """A step that began or ended, and those that had not ended when the run record was read."""
        match seen:
            case StepSeen(step=step):
                yield from self._step(step, seen.at)
            case StepsRead():
                yield from self._at_work(seen.at)
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """What is usual follows the last days."""
        for stage in self._stages.values():
            stage.usual.forget(now)
        return ()

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A stage that was slow."""
        if cause == "slow":
            self._stages.setdefault(component.partition(":")[2], _Stage()).told = True

    def _step(self, step: Step, at: datetime) -> Iterator[Finding]:
        stage = self._stages.setdefault(step.handler, _Stage())
        if step.status == "running":
            if len(stage.working) < _MOST:
                stage.working[step.key] = step.started
            return
        stage.working.pop(step.key, None)
        if step.status == "done" and step.seconds is not None and not step.cached:
            yield from self._done(stage, step, at)

    def _at_work(self, at: datetime) -> Iterator[Finding]:
        """Steps that were still at work then, and should not have been. Later on nobody knows yet that they ended."""
        for handler, stage in self._stages.items():
            limit = _limit(stage)
            if limit is None or stage.told or not stage.working:
                continue
            begin = min(stage.working.values())
            if (taken := (at - begin).total_seconds()) > 2 * limit:
                stage.told = True
                yield _slow(handler, stage, at, f"a step that began at {begin:%H:%M:%S} is at work for {taken:.1f} s")

    def _done(self, stage: _Stage, step: Step, at: datetime) -> Iterator[Finding]:
        assert step.seconds is not None
        stage.recent.append(step.seconds)
        limit, now = _limit(stage), median(stage.recent)
        if limit is not None and len(stage.recent) == _RECENT and now > limit:
            text = f"the last {_RECENT} steps took {', '.join(f'{each:.1f}' for each in stage.recent)} s"
            yield _slow(step.handler, stage, at, text)
            stage.told = True
        elif stage.told and limit is not None and now <= limit:
            stage.told = False
            component = f"handler:{step.handler}"
            yield Recovery(
                at=at,
                cause="slow",
                component=component,
                evidence=(line("run", component, f"a step took {step.seconds:.1f} s", at),),
            )
        if limit is None or step.seconds <= limit:  # trouble must not become what is usual
            stage.usual.add(at, step.seconds)


def _limit(stage: _Stage) -> float | None:
    unusual = stage.usual.unusual
    return None if unusual is None else max(unusual, _LEAST)


def _slow(handler: str, stage: _Stage, at: datetime, text: str) -> Trouble:
    component = f"handler:{handler}"
    usual, count = stage.usual.usual, stage.usual.count
    return Trouble(
        at=at,
        cause="slow",
        component=component,
        kind="stage.slow",
        severity="warning",
        title=f"{handler} takes longer than it used to",
        evidence=(
            line("run", component, text, at),
            line("metric", component, f"usual are {usual:.1f} s, the median of {count} steps in seven days"),
        ),
        again=not stage.told,
    )
