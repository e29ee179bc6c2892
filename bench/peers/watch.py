"""What a piece of work takes: of the clock, and of the processors."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds."""

    wall: float
    #: Of all threads of this process.
    cpu: float


class Watch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> Took:
        """The time since."""
        return Took(time.perf_counter() - self._wall, time.process_time() - self._cpu)

    def rate(self, chunks: int) -> str:
        """What that is in chunks a second."""
        took = self.stop()
        return f"{chunks / took.wall:8.0f} chunks/s   by CPU {chunks / took.cpu:8.0f} chunks/s"


def spread(times: Sequence[Took]) -> str:
    """Middle and tail, in milliseconds."""

    def both(name: str, seconds: Sequence[float]) -> str:
        tail = sorted(seconds)[int(0.95 * len(seconds))]
        return f"{name}p50 {statistics.median(seconds) * 1000:6.1f}   p95 {tail * 1000:6.1f} ms"

    return both("", [each.wall for each in times]) + "   " + both("CPU ", [each.cpu for each in times])


def row(name: str, text: str) -> str:
    """A row of the table."""
    return f"{name:<28} {text}"


def load() -> str:
    """How many processes wanted a processor within the last minute and five, of how many processors."""
    one, five, _ = os.getloadavg()
    return f"{one:.1f} and {five:.1f} on {os.cpu_count()} cores"
