"""Whether an approval holds: said by whoever has the key, to whoever has none, and not to whoever guesses."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from . import approval
from .approval import ApprovalRefused

#: Wrong approvals within so many seconds after which none is looked at.
MOST: Final = 30
WINDOW: Final = 60.0


class Guessing(ApprovalRefused):
    """Too many were wrong: none is looked at for a while."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"Too many approvals were wrong: none is looked at for {wait} s.")
        self.wait = wait


class Checks:
    """Looks at approvals; none is used up by it.

    Args:
        key: see :func:`.approval.read_key`; without one nothing is approved.
        clock: seconds, which never go back.
    """

    def __init__(self, key: bytes | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = key, clock
        self._wrong: deque[float] = deque()

    @property
    def possible(self) -> bool:
        """Whether anything can be approved."""
        return self._key is not None

    def check(self, token: str, action_id: str, kind: str, target: str) -> int:
        """Until when an approval holds, in seconds since the epoch.

        Raises:
            ApprovalRefused: it does not; :class:`Guessing` where it was not looked at.
        """
        if self._key is None:
            raise ApprovalRefused("Nothing can be approved: there is no key.")
        now = self._clock()
        while self._wrong and self._wrong[0] <= now - WINDOW:
            self._wrong.popleft()
        if len(self._wrong) >= MOST:
            raise Guessing(max(1, int(self._wrong[0] + WINDOW - now) + 1))
        try:
            return approval.check(self._key, token, action_id, kind, target)
        except ApprovalRefused:
            self._wrong.append(now)
            raise
