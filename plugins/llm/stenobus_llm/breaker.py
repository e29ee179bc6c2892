"""A circuit breaker: a target that fails again and again is left alone for a while, then asked once to see."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import JsonValue

from .failures import Code, Failure

#: What says something about the target. The others say something about the request, or ask for patience.
SICK: Final[frozenset[Code]] = frozenset({"overloaded", "transport", "auth"})
#: A target that fails its probes is left alone for longer and longer, up to so many times the pause.
_LONGEST: Final = 8.0

State = Literal["closed", "open", "half_open"]


class Breaker:
    """The health of one target, as one process sees it.

    Args:
        target: name of the target.
        failures: failures in a row that open it.
        pause: seconds for which it stays open the first time.
        clock: seconds that only go forward.
    """

    def __init__(self, target: str, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._target, self._threshold, self._first, self._clock = target, failures, pause, clock
        self._failures = 0
        self._pause = pause
        #: When the next probe may go, in the clock's time; None while it is closed.
        self.until: float | None = None
        self._probing = False
        self._last: Failure | None = None

    @property
    def state(self) -> State:
        """Closed: asked as usual. Open: not asked. Half open: one request may go and see."""
        if self.until is None:
            return "closed"
        return "half_open" if self._clock() >= self.until else "open"

    @property
    def refusal(self) -> Failure | None:
        """Why the target is not asked now, in the class of failure that opened the breaker; None when it may be."""
        if self.until is None or (self.state == "half_open" and not self._probing):
            return None
        assert self._last is not None
        # A probe may take as long as it likes: whoever waits for its outcome looks again after the first pause.
        wait = self._first if self._probing else self.until - self._clock()
        return Failure(
            self._last.code,
            f"The target {self._target} failed {self._failures} times in a row and is asked again in {wait:.3g} s; "
            f"the last failure was: {self._last.message}",
            delay=wait,
            retryable=self._last.retryable,
        )

    def begin(self) -> bool:
        """A request is about to be sent.

        Returns:
            Whether it is the probe, on which all depends.
        """
        probe = self.state == "half_open" and not self._probing
        self._probing = self._probing or probe
        return probe

    def end(self, failure: Failure | None, *, probe: bool) -> None:
        """The request came to an end: with an answer (None) or with a failure, of whatever class."""
        if probe:
            self._probing = False
        if failure is None or failure.code not in SICK:
            # Whoever declines a request, or asks for patience, is there. What was sent before the breaker opened says
            # nothing about the time since.
            if probe or self.until is None:
                self._failures, self._pause, self.until, self._last = 0, self._first, None, None
            return
        self._failures, self._last = self._failures + 1, failure
        if probe:
            self._pause = min(2 * self._pause, _LONGEST * self._first)
        if probe or (self.until is None and self._failures >= self._threshold):
            self.until = self._clock() + self._pause

    def abandon(self, *, probe: bool) -> None:
        """The request was given up by whoever sent it: nothing is known, and another one may be the probe."""
        if probe:
            self._probing = False

    @property
    def health(self) -> dict[str, JsonValue]:
        """The state for others to see; ``until`` is the time of the next probe."""
        if self.until is None or self._last is None:
            return {"state": "closed"}
        until = datetime.now(UTC) + timedelta(seconds=self.until - self._clock())
        return {
            "state": "open",
            "until": until.isoformat(timespec="seconds"),
            "failures": self._failures,
            "code": self._last.code,
            "reason": self._last.message,
        }
