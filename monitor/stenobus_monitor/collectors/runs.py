"""The run record: every step as it changes, and those of the last days at the beginning, to know what is usual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from stenobus_bus import Bus
from stenobus_core.runs import BUCKET, Runs

from ..observations import StepSeen, StepsRead
from . import Emit

#: Writes of steps that are read at the beginning: the latest ones.
_HISTORY: Final = 20_000


class RunCollector:
    """Reads what was written since the last look.

    Args:
        every: seconds between two looks.
    """

    name = "runs"

    def __init__(self, bus: Bus, every: float = 2.0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._bus, self._every, self._clock = bus, every, clock

    async def run(self, emit: Emit) -> None:
        """Read again and again."""
        runs = await Runs.open(self._bus)
        state = (await self._bus.api(f"STREAM.INFO.KV_{BUCKET}"))["state"]
        place = max(1, state["last_seq"] + 1 - _HISTORY)
        while True:
            asked = self._clock()
            steps, place = await runs.changes(place)
            for step in sorted(steps, key=lambda step: step.changed or step.started):
                await emit(StepSeen(at=step.finished or step.changed or step.started, step=step))
            await emit(StepsRead(at=asked))
            await asyncio.sleep(self._every)
