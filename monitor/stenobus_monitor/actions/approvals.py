"""Approvals: what people sign, and where a link lets them do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from stenobus_bus.envelope import derived_id
from stenobus_contracts import Action
from stenobus_executor.approval import NAME, ApprovalRefused, check, issue, read_key

from .course import Course

__all__ = ["ApprovalRefused", "Approvals"]

#: For which an approval to take something back holds.
_SOON: Final = timedelta(minutes=15)


class Approvals:
    """Signs and checks, with the key in a file, which is read each time: whoever changes it ends all approvals.

    Args:
        key: path of the key; None where nothing can be approved.
        url: where people find the monitor's HTTP interface, for links.
    """

    def __init__(self, key: Path | None, url: str | None = None) -> None:
        self._key, self._url = key, url

    @property
    def trouble(self) -> str | None:
        """Why nothing can be approved, None when it can."""
        if self._key is None:
            return "nothing can be approved: STENOBUS_MONITOR_APPROVAL_KEY names no key"
        try:
            read_key(self._key)
        except ApprovalRefused as error:
            return f"nothing can be approved: {error}"
        return None

    def token(self, action: Action, expires: datetime, *, undo: bool = False) -> str:
        """An approval of an action, or of taking it back. Raises ApprovalRefused."""
        return issue(self._read(), name(action, undo), action.kind, _target(action), expires.timestamp())

    def grant(self, course: Course, *, undo: bool = False) -> str:
        """An approval of what is proposed for as long as the proposal holds; or of taking it back, soon.

        Raises:
            ApprovalRefused: there is no key, nothing to approve, or it is too late.
        """
        if undo:
            return self.token(course.action, datetime.now(UTC) + _SOON, undo=True)
        if course.stage != "proposed" or course.level != "approve":
            raise ApprovalRefused(f"The action is {course.outcome or course.stage}, at the level {course.level}.")
        return self.token(course.action, course.expires_at)

    def check(self, action: Action, token: str, *, undo: bool = False) -> None:
        """Raises ApprovalRefused where an approval does not hold."""
        check(self._read(), token, name(action, undo), action.kind, _target(action))

    def link(self, action: Action, expires: datetime) -> str | None:
        """Where one click approves; None where there is no such place, or nothing can be approved."""
        if self._url is None or self.trouble is not None:
            return None
        token = quote(self.token(action, expires), safe="")
        return f"{self._url.rstrip('/')}/v1/actions/{action.action_id}/approve?token={token}"

    def _read(self) -> bytes:
        if self._key is None:
            raise ApprovalRefused("Nothing can be approved: STENOBUS_MONITOR_APPROVAL_KEY names no key.")
        return read_key(self._key)


def _target(action: Action) -> str:
    """A container's name, or what stands for another target, which may be no such word."""
    return action.target if NAME.fullmatch(action.target) else derived_id("target", action.target)


def name(action: Action, undo: bool = False) -> str:
    """What an approval is for: to do is something else than to take back."""
    return f"{action.action_id}-undo" if undo else action.action_id
