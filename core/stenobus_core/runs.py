"""Runs: what happened to one recording, step by step, in a KV bucket that ``nats kv watch`` can follow.

One key per step (``<run>.<handler>.<event>``, and the replay's id behind it in a replay), written only by whoever
works on it: no two writers ever meet, and the state of the run is derived from its steps.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final, Literal

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from stenobus_bus import Bus, ServerUnavailable, direct
from stenobus_bus.entries import Entries
from stenobus_bus.envelope import token

BUCKET: Final = "stenobus_runs"
#: Seconds a run is remembered.
TTL: Final = 30 * 86_400.0

#: Seconds a step may wait for a bucket that does not take it: the run record is for people, events go on without it.
_PATIENCE: Final = 5.0
#: Seconds between two looks at a run that is followed, should no message say that it changed.
_LOOK: Final = 5.0
#: Steps that are on the way at a time, where all of a handler are read.
_BATCH: Final = 5000

Status = Literal["running", "retrying", "done", "failed"]
#: What follows what within one attempt.
_ORDER: Final[dict[Status, int]] = {"running": 0, "retrying": 1, "done": 2, "failed": 2}


class Try(BaseModel):
    """An earlier attempt of a step."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    started: datetime
    seconds: float | None = Field(default=None, description="None when its process ended in the middle")
    error: str


class Step(BaseModel):
    """One event in one handler's hands."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    handler: str
    event_id: str
    subject: str
    status: Status
    stored: datetime | None = Field(default=None, description="when the server stored the event")
    attempt: int = 1
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    changed: datetime | None = Field(default=None, description="when it was written like this")
    finished: datetime | None = None
    seconds: float | None = Field(default=None, description="time of the successful attempt")
    progress: float = Field(default=0.0, ge=0, le=1)
    message: str | None = Field(default=None, description="what it is doing, or why it failed")
    cached: bool = Field(default=False, description="every result came from the stage cache")
    replay: str | None = None
    causation: str | None = None
    reason: str | None = Field(default=None, description="dead-letter reason of a failed step")
    facts: dict[str, JsonValue] = Field(
        default_factory=dict, description="the handler's own notes: engine, method, cost"
    )
    tries: tuple[Try, ...] = Field(default=(), description="the latest earlier attempts, oldest first")

    @property
    def key(self) -> str:
        """The step's key in the bucket."""
        return step_key(self.run, self.handler, self.event_id, self.replay)

    @property
    def order(self) -> tuple[int, datetime, int, datetime]:
        """What makes one state of a step newer than another: the attempt, when it began, how far it has come, and when
        that was written. Times of one attempt are those of one process."""
        return self.attempt, self.started, _ORDER[self.status], self.changed or self.started


def step_key(run: str, handler: str, event_id: str, replay: str | None) -> str:
    """The key of a step in the bucket."""
    again = f".{replay}" if replay else ""
    return f"{run}.{handler}.{token(event_id)}{again}"


class Runs:
    """The store of all runs."""

    def __init__(self, bus: Bus) -> None:
        self._nc, self._js = bus.nc, bus.js
        self._entries = Entries(bus.nc, _PATIENCE)

    @classmethod
    async def open(cls, bus: Bus) -> Runs:
        """The run store of a bus.

        Raises:
            ServerUnavailable: its bucket is missing.
        """
        await bus.bucket(BUCKET)
        runs = cls(bus)
        await bus.open(runs._entries)
        return runs

    def put(self, step: Step) -> asyncio.Future[bool]:
        """Write a step; the future says whether it is stored, after a few seconds of trouble that it is not."""
        return self._entries.put(f"$KV.{BUCKET}.{step.key}", step.model_dump_json(exclude_none=True).encode())

    async def step(self, key: str) -> Step | None:
        """One step, None when there is none.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        try:
            found = await self._js.get_last_msg(f"KV_{BUCKET}", f"$KV.{BUCKET}.{key}", direct=True)
        except NotFoundError:
            return None
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
        return Step.model_validate_json(found.data) if found.data else None

    async def steps(self, run: str | None = None) -> list[Step]:
        """The steps of one run, or of all, in order of their start.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        try:
            stored = [msg.data async for msg in direct.messages(self._nc, f"KV_{BUCKET}", _subject(run))]
        except (NatsError, TimeoutError) as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
        found = [Step.model_validate_json(data) for data in stored if data]  # a deleted key is empty
        latest = {step.key: step for step in found}  # a step that is written while we read is read twice
        return sorted(latest.values(), key=lambda step: step.started)

    async def of(
        self, handler: str, run: str | None = None, since: datetime | None = None
    ) -> AsyncGenerator[Step, None]:
        """The steps of one handler, in the order in which they were last written.

        A step that is written meanwhile may come twice: the later one counts.

        Args:
            run: of this run alone.
            since: only steps that were written since then.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        subject = f"$KV.{BUCKET}.{token(run) if run else '*'}.{handler}.>"
        begin = since.astimezone(UTC).isoformat().replace("+00:00", "Z") if since else None
        try:
            async for msg in direct.messages(self._nc, f"KV_{BUCKET}", subject, since=begin, batch=_BATCH):
                if msg.data:  # a deleted key is empty
                    yield Step.model_validate_json(msg.data)
        except (NatsError, TimeoutError) as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error

    async def latest(self, limit: int) -> list[str]:
        """Names of the runs that began last, the newest first. Raises ServerUnavailable."""
        began: dict[str, datetime] = {}
        for step in await self.steps():
            began.setdefault(step.run, step.started)
        return sorted(began, key=lambda run: began[run], reverse=True)[:limit]

    async def changes(self, start: int) -> tuple[list[Step], int]:
        """The steps that were written at a place in the bucket's stream or behind it, and the place to go on from.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        found = []
        try:
            async for msg in direct.messages(self._nc, f"KV_{BUCKET}", _subject(None), start=start):
                start = int((msg.headers or {})["Nats-Sequence"]) + 1
                if msg.data:  # a deleted key is empty
                    found.append(Step.model_validate_json(msg.data))
        except (NatsError, TimeoutError) as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
        return found, start

    async def follow(self, run: str) -> AsyncGenerator[Step, None]:
        """The steps of a run as they are, then every change as it happens, without end."""
        changed = asyncio.Event()

        async def change(_: Msg) -> None:
            changed.set()

        known: dict[str, Step] = {}
        # The bucket's writes are plain messages too. They only say that there is something to read: the bucket has the
        # last word, so that no message that comes late or gets lost in a reconnect can tell an old story.
        subscription = await self._nc.subscribe(_subject(run), cb=change)
        try:
            while True:
                changed.clear()
                for step in await self.steps(run):
                    if known.get(step.key) != step:
                        known[step.key] = step
                        yield step
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK):
                        await changed.wait()
        finally:
            if not self._nc.is_closed:
                await subscription.unsubscribe()

    async def close(self) -> None:
        """Nothing to release: the connection is somebody else's."""


def _subject(run: str | None) -> str:
    return f"$KV.{BUCKET}.{token(run)}.>" if run else f"$KV.{BUCKET}.>"
