"""The course of one action, from its proposal to its end: kept before each step is taken.

::

    proposed ┬→ approved ──┬→ checked → started → verified → done
             └→ automatic ─┘      (refused, failed) ────────→ done → undoing → done
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from stenobus_contracts import Action, Level, MonitorActionDone

Stage = Literal["proposed", "approved", "automatic", "checked", "started", "verified", "undoing", "done"]
Outcome = Literal["succeeded", "failed", "refused", "undone"]
#: Steps that are kept.
_FIRST: Final = 10
_LATEST: Final = 30


class Step(BaseModel):
    """Something that became of an action."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    stage: Stage
    text: str = ""


class Course(BaseModel):
    """What has become of an action so far."""

    model_config = ConfigDict(frozen=True)

    action: Action
    incident_kind: str
    #: What it works on, such as container:kb.
    component: str
    level: Level
    reason: str
    dry_run: str
    #: Until when it may be approved.
    expires_at: datetime
    #: Whether it can be taken back once it is done.
    undoable: bool = True
    stage: Stage = "proposed"
    outcome: Outcome | None = None
    detail: str = ""
    #: How things were, as the remedy noted it; and the containers that it restarts.
    before: JsonValue = None
    restarts: tuple[str, ...] = ()
    #: Whoever approved it, by which event, and the token for as long as the executor may ask for it.
    approved_by: str = ""
    approval: str = ""
    token: str | None = None
    #: Who is at it: whoever takes over writes its own mark, and the one before cannot go on.
    runner: str = ""
    #: What became of it, step by step: the first ones and the latest.
    trail: tuple[Step, ...] = ()

    def since(self, stage: Stage) -> datetime:
        """When it came to a stage for the last time."""
        return max(step.at for step in self.trail if step.stage == stage)

    def objection(self, now: datetime, *, undo: bool = False) -> str | None:
        """Why it cannot be approved, or taken back; None when it can, by an approval that holds."""
        if undo:
            if self.stage != "done" or self.outcome not in {"succeeded", "failed"}:
                return f"There is nothing to take back: the action is {self.outcome or self.stage}."
            return None if self.undoable else f"A {self.action.kind} cannot be taken back."
        if self.stage != "proposed":
            return f"The action is {self.outcome or self.stage} already."
        if self.level != "approve":
            return f"The action's level is {self.level}: nobody can approve it."
        return "The proposal has expired." if now >= self.expires_at else None

    @property
    def done(self) -> MonitorActionDone | None:
        """What is told of its end, None when it has none yet."""
        if self.stage != "done" or self.outcome is None:
            return None
        return MonitorActionDone(action=self.action, outcome=self.outcome, detail=self.detail)


def refusal(by: str) -> str:
    """How the step begins that says that somebody's approval was refused."""
    return f"an approval by {by} was refused"


def stepped(course: Course, stage: Stage, text: str = "", **changes: object) -> Course:
    """The course after one more step."""
    trail = (*course.trail, Step(at=datetime.now(UTC), stage=stage, text=text))
    if len(trail) > _FIRST + _LATEST:
        trail = (*trail[:_FIRST], *trail[-_LATEST:])
    return course.model_copy(update={"stage": stage, "trail": trail, **changes})
