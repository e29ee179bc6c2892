"""Writes each step of a run as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import JsonValue

from stenobus_bus import Delivery, Envelope, Observer, Received
from stenobus_contracts import Reason

from .runs import Runs, Step

#: Seconds between two progress writes of one step: a picture for people, not a log.
_PACE: Final = 0.5


class Track:
    """One step, while it runs. Without a place in the run record it says nothing to anybody."""

    async def progress(self, fraction: float, message: str) -> None:
        """Raise the progress."""

    def note(self, facts: Mapping[str, JsonValue]) -> None:
        """Add facts."""

    def cached(self, *, hit: bool) -> None:
        """Count a look into the stage cache."""


class RecordedTrack(Track):
    """One step of the run record, while it runs."""

    def __init__(self, runs: Runs, step: Step) -> None:
        self._runs = runs
        self.step = step
        self._hits, self._misses = 0, 0
        self._written = 0.0

    async def update(self, **changes: Any) -> None:
        """Change the step and write it."""
        self.step = self.step.model_copy(update=changes)
        self._written = asyncio.get_running_loop().time()
        await self._runs.put(self.step)

    async def progress(self, fraction: float, message: str) -> None:
        """Raise the progress; written at most twice a second."""
        fraction = min(1.0, max(self.step.progress, fraction))
        self.step = self.step.model_copy(update={"progress": fraction, "message": message or self.step.message})
        if asyncio.get_running_loop().time() - self._written >= _PACE:
            await self.update()

    def note(self, facts: Mapping[str, JsonValue]) -> None:
        """Add facts."""
        self.step = self.step.model_copy(update={"facts": {**self.step.facts, **facts}})

    def cached(self, *, hit: bool) -> None:
        """Count a look into the stage cache."""
        self._hits, self._misses = self._hits + hit, self._misses + (not hit)

    @property
    def from_cache(self) -> bool:
        """Every result of the step came from the cache."""
        return self._hits > 0 and self._misses == 0


class Tracker(Observer):
    """Keeps no record: for handlers of thousands of events a second."""

    _silent: Final = Track()

    def track(self, received: Received[Any]) -> Track:
        """The step of an event in hand."""
        return self._silent


class RunTracker(Tracker):
    """Keeps the run record of one handler."""

    def __init__(self, runs: Runs, handler: str) -> None:
        self._runs, self._handler = runs, handler
        self._tracks: dict[int, RecordedTrack] = {}  # by place in the stream

    def track(self, received: Received[Any]) -> Track:
        """The step of an event in hand."""
        return self._tracks[received.delivery.sequence]

    async def before(self, received: Received[Any]) -> None:
        """The step is running."""
        step = self._step(received.envelope, "running", attempt=received.attempt)
        track = self._tracks[received.delivery.sequence] = RecordedTrack(self._runs, step)
        await track.update()

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        """The step is done."""
        track = self._tracks.pop(received.delivery.sequence)
        await track.update(
            status="done",
            finished=datetime.now(UTC),
            seconds=round(seconds, 3),
            progress=1.0,
            cached=track.from_cache,
        )

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        """The step waits for its next attempt."""
        track = self._tracks.pop(received.delivery.sequence)
        await track.update(status="retrying", message=f"{error or type(error).__name__} (again in {delay:.0f} s)")

    async def buried(self, envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
        """The step failed for good."""
        track = self._tracks.pop(delivery.sequence, None)
        if track is None:
            track = RecordedTrack(self._runs, self._step(envelope, "failed", attempt=delivery.count))
        await track.update(status="failed", finished=datetime.now(UTC), reason=reason, message=str(error))

    def _step(self, envelope: Envelope, status: str, **more: Any) -> Step:
        return Step.model_validate(
            {
                "run": envelope.run,
                "handler": self._handler,
                "event_id": envelope.id,
                "subject": envelope.subject,
                "status": status,
                "replay": envelope.replay,
                "causation": envelope.causation,
                **more,
            }
        )
