"""What the run record says of a handler's attempts: which failed, which ended with their process, what went well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stenobus_core.runs import Runs, Step

#: Steps of one handler that are looked at.
_MOST: Final = 50_000


@dataclass(frozen=True, slots=True)
class Attempts:
    """One event in one handler's hands."""

    step: Step

    @property
    def kills(self) -> list[datetime]:
        """When attempts began that ended with their process; one that a stopping process handed back is none."""
        numbers = [*(each.attempt for each in self.step.tries), self.step.attempt]
        return [
            each.started
            for each, following in zip(self.step.tries, numbers[1:], strict=True)
            if each.seconds is None and following > each.attempt
        ]

    @property
    def failures(self) -> list[datetime]:
        """When attempts began that failed in any way."""
        errors = [each.started for each in self.step.tries if each.seconds is not None]
        if self.step.status == "failed" and self.step.reason != "crashed":
            errors.append(self.step.started)
        return sorted({*self.kills, *errors})

    @property
    def again(self) -> bool:
        """Another process tried it after the first failure, and failed as well."""
        return bool(self.kills) and self.failures[-1] > min(self.kills)


async def steps(runs: Runs, handler: str, since: datetime) -> AsyncIterator[Step]:
    """A handler's steps that were written since some time. Raises ServerUnavailable."""
    count = 0
    async with aclosing(runs.of(handler, since=since)) as found:
        async for step in found:
            yield step
            count += 1
            if count == _MOST:
                return
