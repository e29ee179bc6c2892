"""How many processes of each plugin a load needs, from what past runs took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .plugin import Handler
from .runs import Step

#: Share of the time that slots may be busy, so that events do not queue up behind every fluctuation.
BUSY: Final = 0.7


@dataclass(frozen=True, slots=True)
class Need:
    """What one handler needs for a load."""

    handler: str
    plugin: str
    #: Events of one run, on average.
    events: float
    #: Seconds of one event, on average, of those that were not answered from the cache.
    seconds: float
    #: Events that one process has in hand at once.
    slots: int
    #: Slots that are busy at any time under the load, on average.
    busy: float
    processes: int

    @property
    def most(self) -> float:
        """Runs an hour that one process can bear; without bound when it takes no time."""
        work = self.events * self.seconds
        return 3600 * BUSY * self.slots / work if work else math.inf


def needs(steps: Iterable[Step], handlers: Mapping[str, Handler], per_hour: float) -> list[Need]:
    """What each handler needs, the one that gives in first at the head.

    Args:
        steps: of past runs; those that failed, still run or came from the cache say nothing about time.
        handlers: by name; steps of others are left out.
        per_hour: runs an hour.
    """
    runs = set[str]()
    counts: dict[str, int] = defaultdict(int)
    times: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        if step.status != "done" or step.handler not in handlers:
            continue
        runs.add(step.run)
        counts[step.handler] += 1
        if step.seconds is not None and not step.cached:
            times[step.handler].append(step.seconds)
    found = []
    for name, seconds in times.items():
        handler = handlers[name]
        mean, events = sum(seconds) / len(seconds), counts[name] / len(runs)
        busy = per_hour / 3600 * events * mean
        processes = max(1, math.ceil(busy / BUSY / handler.concurrency))
        found.append(Need(name, handler.plugin, events, mean, handler.concurrency, busy, processes))
    return sorted(found, key=lambda need: need.most)
