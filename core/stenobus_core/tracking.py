"""Writes each step of a run as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from pydantic import JsonValue

from stenobus_bus import Delivery, Envelope, Observer, Received
from stenobus_contracts import Reason

from .runs import Runs, Status, Step, Try, step_key

#: Seconds between two progress writes of one step: a picture for people, not a log.
_PACE: Final = 0.5
#: Seconds after which a step is said to be running, and what it notes is written: one that is done by then is written
#: once.
_MOMENT: Final = 0.05
#: Earlier attempts that a step remembers.
_TRIES: Final = 20


class Track:
    """One step, while it runs. Without a place in the run record it says nothing to anybody."""

    #: Facts that earlier attempts noted.
    earlier: Mapping[str, JsonValue] = MappingProxyType({})

    async def progress(self, fraction: float, message: str) -> None:
        """Raise the progress."""

    def note(self, facts: Mapping[str, JsonValue]) -> None:
        """Add facts."""

    def cached(self, *, hit: bool) -> None:
        """Count a look into the stage cache."""


class RecordedTrack(Track):
    """One step of the run record, while it runs."""

    def __init__(
        self,
        runs: Runs,
        handler: str,
        envelope: Envelope,
        delivery: Delivery,
        attempt: int,
        soon: Callable[[], None] = lambda: None,
    ) -> None:
        self._runs, self._handler, self._envelope, self._attempt = runs, handler, envelope, attempt
        self._soon = soon
        self._stored = delivery.timestamp
        self._started = datetime.now(UTC)
        self._progress, self._message = 0.0, ""
        self._facts: dict[str, JsonValue] = {}
        self._hits, self._misses = 0, 0
        #: Earlier attempts, wherever they were made.
        self.tries: tuple[Try, ...] = ()
        #: When the step was last written, in the loop's time; 0 is never.
        self.written = 0.0
        #: There is something to write.
        self.stale = True

    def write(self, status: Status, **more: Any) -> asyncio.Future[bool]:
        """Write the step as it is now."""
        self.stale = False
        self.written = asyncio.get_running_loop().time()
        envelope = self._envelope
        step = {
            "run": envelope.run,
            "handler": self._handler,
            "event_id": envelope.id,
            "subject": envelope.subject,
            "status": status,
            "stored": datetime.fromtimestamp(self._stored / 1e9, UTC),
            "attempt": self._attempt,
            "started": self._started,
            "changed": datetime.now(UTC),
            "progress": self._progress,
            "message": self._message or None,
            "replay": envelope.replay,
            "causation": envelope.causation,
            "facts": self._facts,
            "tries": self.tries,
        }
        return self._runs.put(Step.model_validate(step | more))

    def ended(self, error: str) -> None:
        """Remember that this attempt ended in an error."""
        seconds = round((datetime.now(UTC) - self._started).total_seconds(), 3)
        this = Try(attempt=self._attempt, started=self._started, seconds=seconds, error=error)
        self.tries = (*self.tries, this)[-_TRIES:]

    def follow(self, earlier: Step) -> None:
        """Take over what an earlier delivery left behind."""
        self.tries = earlier.tries
        # They stay the step's own, so that an attempt that dies without a word loses none of them.
        self._facts = dict(earlier.facts)
        self.earlier = MappingProxyType(earlier.facts)
        if earlier.status == "running":  # without a last word
            again = "the process ended" if earlier.attempt < self._attempt else "handed back by a process that stopped"
            lost = Try(attempt=earlier.attempt, started=earlier.started, error=again)
            self.tries = (*self.tries, lost)[-_TRIES:]

    async def progress(self, fraction: float, message: str) -> None:
        """Raise the progress; written at most twice a second."""
        self._progress, self._message = min(1.0, max(self._progress, fraction)), message or self._message
        if asyncio.get_running_loop().time() - self.written >= _PACE:
            await self.write("running")

    def note(self, facts: Mapping[str, JsonValue]) -> None:
        """Add facts; written soon."""
        self._facts.update(facts)
        self.stale = True
        self._soon()

    def cached(self, *, hit: bool) -> None:
        """Count a look into the stage cache."""
        self._hits, self._misses = self._hits + hit, self._misses + (not hit)

    @property
    def noted(self) -> bool:
        """There are facts."""
        return bool(self._facts)

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
        self._announcing: asyncio.TimerHandle | None = None

    def track(self, received: Received[Any]) -> Track:
        """The step of an event in hand."""
        return self._tracks[received.delivery.sequence]

    async def before(self, received: Received[Any]) -> None:
        """The step is running; written only if it still does after a moment."""
        track = RecordedTrack(
            self._runs, self._handler, received.envelope, received.delivery, received.attempt, self._soon
        )
        self._tracks[received.delivery.sequence] = track
        if received.delivery.count > 1 and (earlier := await self._step(received.envelope)) is not None:
            track.follow(earlier)
        self._soon()

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        """The step is done."""
        track = self._tracks.pop(received.delivery.sequence)
        await track.write(
            "done", finished=datetime.now(UTC), seconds=round(seconds, 3), progress=1.0, cached=track.from_cache
        )

    async def skipped(self, envelope: Envelope, delivery: Delivery) -> None:
        """The step was done before; a process that died in between may not have said so."""
        if delivery.count == 1:
            return
        step = await self._step(envelope)
        if step is not None and step.status != "done":
            await self._runs.put(
                step.model_copy(update={"status": "done", "progress": 1.0, "changed": datetime.now(UTC)})
            )

    async def interrupted(self, received: Received[Any]) -> None:
        """What the step noted goes to whoever takes over. A stopping process waits for its confirmation a moment."""
        track = self._tracks.pop(received.delivery.sequence, None)
        if track is not None and track.noted:
            await asyncio.wait({track.write("running")}, timeout=_MOMENT)

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        """The step waits for its next attempt."""
        track = self._tracks.pop(received.delivery.sequence)
        said = str(error) or type(error).__name__
        track.ended(said)
        await track.write("retrying", message=f"{said} (again in {delay:.0f} s)")

    async def buried(self, envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
        """The step failed for good."""
        track = self._tracks.pop(delivery.sequence, None)
        if track is None:
            track = RecordedTrack(self._runs, self._handler, envelope, delivery, delivery.count)
            if delivery.count > 1 and (earlier := await self._step(envelope)) is not None:
                track.follow(earlier)
        await track.write("failed", finished=datetime.now(UTC), reason=reason, message=str(error))

    async def _step(self, envelope: Envelope) -> Step | None:
        """The step as an earlier delivery left it."""
        return await self._runs.step(step_key(envelope.run, self._handler, envelope.id, envelope.replay))

    def _soon(self) -> None:
        """Write in a moment what is not written by then."""
        if self._announcing is None:
            self._announcing = asyncio.get_running_loop().call_later(_MOMENT, self._announce)

    def _announce(self) -> None:
        """Write which steps are running, and what they noted, of what nobody heard yet."""
        self._announcing = None
        for track in self._tracks.values():
            if track.stale:
                track.write("running")
