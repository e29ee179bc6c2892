"""What a handler has done since its process began: plain numbers, cheap enough for thousands of events a second."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

#: Upper bounds of the buckets in seconds: from a lookup to half an hour of speech recognition.
BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        #: One count per bound, and one for what took longer than the last.
        self.counts = [0] * (len(BOUNDS) + 1)
        #: Seconds in all.
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Stats:
    """The figures of one handler in one process."""

    #: Events whose outputs are stored and which are acknowledged.
    handled: int = 0
    #: Attempts that failed.
    failures: int = 0
    #: Failed attempts that are followed by another one.
    retried: int = 0
    #: Events the ledger knew.
    skipped: int = 0
    #: Dead letters by reason.
    dead: Counter[str] = field(default_factory=Counter)
    #: Time of the handler's own code, per attempt.
    work: Histogram = field(default_factory=Histogram)
    #: Time until the outputs of one event were stored.
    publish: Histogram = field(default_factory=Histogram)
    #: Seconds in all, from the first look at an event to its settlement.
    seconds: float = 0.0


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time that a share of what was counted did not exceed, in seconds, interpolated inside its bucket.

    Returns:
        None when nothing was counted. What lies beyond the last bound counts as that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below, passed = 0.0, 0
    for bound, count in zip(BOUNDS, counts, strict=False):
        if count and passed + count >= wanted:
            return below + (bound - below) * (wanted - passed) / count
        below, passed = bound, passed + count
    return BOUNDS[-1]
