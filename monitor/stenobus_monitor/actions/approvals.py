"""Approvals: who signs them, and who says whether one holds.

The monitor itself can sign none, so that whoever takes it over approves nothing: the executor has the key and says
whether an approval holds. The key is with those who approve: an operator's machine, and the HTTP interface.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from stenobus_bus.envelope import derived_id
from stenobus_contracts import Action
from stenobus_executor.approval import NAME, ApprovalRefused, check, issue, read_key

from .course import Course

__all__ = ["ApprovalRefused", "Approvals", "Checker", "name", "target"]

#: For which an approval to take something back holds.
_SOON: Final = timedelta(minutes=15)
_NO_KEY: Final = (
    "STENOBUS_MONITOR_APPROVAL_KEY names no key; set it to a file of 32 random bytes or more, "
    "the same that the executor has as its --key"
)


class Checker(Protocol):
    """Says whether an approval holds; that it is used once is not its business."""

    async def trouble(self) -> str | None:
        """Why nothing can be approved, None when it can."""
        ...

    async def check(self, action: Action, token: str, *, undo: bool = False) -> None:
        """Look at an approval of an action, or of taking it back.

        Raises:
            ApprovalRefused: it does not hold.
            EngineUnavailable: nobody says so now.
        """
        ...


class Approvals:
    """Signs and checks, with the key in a file, which is read each time: whoever changes it ends all approvals.

    Args:
        key: path of the key; None where nothing can be signed or checked.
    """

    def __init__(self, key: Path | None) -> None:
        self._key = key

    async def trouble(self) -> str | None:
        """Why nothing can be approved, None when it can."""
        try:
            self.read()
        except ApprovalRefused as error:
            return f"nothing can be approved: {error}"
        return None

    def token(self, action: Action, expires: datetime, *, undo: bool = False) -> str:
        """An approval of an action, or of taking it back. Raises ApprovalRefused."""
        return issue(self.read(), name(action.action_id, undo), action.kind, target(action), expires.timestamp())

    def grant(self, course: Course, *, undo: bool = False) -> str:
        """An approval of what is proposed for as long as the proposal holds; or of taking it back, soon.

        Raises:
            ApprovalRefused: there is no key, nothing to approve, or it is too late.
        """
        if objection := course.objection(datetime.now(UTC), undo=undo):
            raise ApprovalRefused(objection)
        return self.token(course.action, datetime.now(UTC) + _SOON if undo else course.expires_at, undo=undo)

    async def check(self, action: Action, token: str, *, undo: bool = False) -> None:
        """As :meth:`Checker.check`, by the key that is here."""
        check(self.read(), token, name(action.action_id, undo), action.kind, target(action))

    def read(self) -> bytes:
        """The key. Raises ApprovalRefused."""
        if self._key is None:
            raise ApprovalRefused(f"{_NO_KEY}.")
        return read_key(self._key)


def target(action: Action) -> str:
    """What an approval says of a target: a container's name, or what stands for another one, which may be no word."""
    return action.target if NAME.fullmatch(action.target) else derived_id("target", action.target)


def name(action_id: str, undo: bool = False) -> str:
    """What an approval is for: to do is something else than to take back."""
    return f"{action_id}-undo" if undo else action_id
