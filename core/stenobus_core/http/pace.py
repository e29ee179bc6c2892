"""So many requests a minute for each caller."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

#: Callers that are remembered; whoever is forgotten begins with a full minute again.
_MOST: Final = 10_000


class Pace:
    """A bucket of tokens per caller; it holds what a minute brings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, per_minute: int) -> float:
        """Take a token.

        Returns:
            0, or the seconds until there is one.
        """
        now = self._clock()
        left, at = self._left.get(caller, (float(per_minute), now))
        left = min(float(per_minute), left + (now - at) * per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / per_minute
        self._left[caller] = (left if wait else left - 1, now)
        self._left.move_to_end(caller)
        if len(self._left) > _MOST:
            self._left.popitem(last=False)
        return wait
