"""Runs: what happened to one recording, step by step, in a KV bucket that ``nats kv watch`` can follow.

One key per step (``<run>.<handler>.<event>``, and the replay's id behind it in a replay), written only by whoever
works on it: no two writers ever meet, and the state of the run is derived from its steps.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final, Literal

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.kv import KeyValue
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from stenobus_bus import Bus, ServerUnavailable
from stenobus_bus.envelope import token
from stenobus_bus.history import read

BUCKET: Final = "stenobus_runs"
#: Seconds a run is remembered.
TTL: Final = 30 * 86_400.0

Status = Literal["running", "retrying", "done", "failed"]


class Step(BaseModel):
    """One event in one handler's hands."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    handler: str
    event_id: str
    subject: str
    status: Status
    attempt: int = 1
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
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

    @property
    def key(self) -> str:
        """The step's key in the bucket."""
        again = f".{self.replay}" if self.replay else ""
        return f"{self.run}.{self.handler}.{token(self.event_id)}{again}"


class Runs:
    """The store of all runs."""

    def __init__(self, bus: Bus, bucket: KeyValue) -> None:
        self._bus, self._bucket = bus, bucket

    @classmethod
    async def open(cls, bus: Bus) -> Runs:
        """The run store of a bus."""
        return cls(bus, await bus.bucket(BUCKET))

    async def put(self, step: Step) -> None:
        """Write a step.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        try:
            await self._bucket.put(step.key, step.model_dump_json(exclude_none=True).encode())
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error

    async def steps(self, run: str | None = None) -> list[Step]:
        """The steps of one run, or of all, in order of their start.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        # Read without a watcher: each would leave a consumer behind at the server for minutes.
        keys = f"$KV.{BUCKET}.{f'{token(run)}.>' if run else '>'}"
        found = [
            Step.model_validate_json(entry.data) async for entry in read(self._bus, f"KV_{BUCKET}", keys) if entry.data
        ]
        return sorted(found, key=lambda step: step.started)

    async def follow(self, run: str | None = None) -> AsyncGenerator[Step | None, None]:
        """Steps as they are, then None, then every change as it happens."""
        watcher = await self._bucket.watch(f"{token(run)}.>" if run else ">")
        try:
            while True:
                try:
                    entry = await watcher.updates(timeout=3600)  # type: ignore[no-untyped-call]
                except NatsTimeout:
                    continue
                if entry is None:
                    yield None
                elif entry.value:
                    yield Step.model_validate_json(entry.value)
        finally:
            await watcher.stop()  # type: ignore[no-untyped-call]
