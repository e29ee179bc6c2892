"""What is usual: the median of the last seven days, and how far values stray from it. One outlier moves neither."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from statistics import median
from typing import Final

WINDOW: Final = timedelta(days=7)
#: Values that are kept; the oldest go first.
_MOST: Final = 500
#: Values it takes to know what is usual.
ENOUGH: Final = 8
#: The median absolute deviation of normally distributed values is this part of their standard deviation.
_SCALE: Final = 1.4826
#: Deviations from which on a value is unusual, and the times of the median it must reach as well: where everything
#: takes equally long, a deviation is next to nothing.
_DEVIATIONS: Final = 6.0
_TIMES: Final = 2.5


class Baseline:
    """Values of one kind, such as the seconds that a stage takes."""

    def __init__(self) -> None:
        self._values: deque[tuple[datetime, float]] = deque(maxlen=_MOST)

    def add(self, at: datetime, value: float) -> None:
        """One more value."""
        self._values.append((at, value))

    def forget(self, now: datetime) -> None:
        """Leave out what is older than the window."""
        while self._values and now - self._values[0][0] > WINDOW:
            self._values.popleft()

    @property
    def count(self) -> int:
        """Values there are."""
        return len(self._values)

    @property
    def usual(self) -> float | None:
        """The median; None while there are too few values."""
        return median(value for _, value in self._values) if self.count >= ENOUGH else None

    @property
    def unusual(self) -> float | None:
        """The value from which on one is unusually high; None while there are too few values."""
        usual = self.usual
        if usual is None:
            return None
        deviation = median(abs(value - usual) for _, value in self._values) * _SCALE
        return max(usual + _DEVIATIONS * deviation, _TIMES * usual)
