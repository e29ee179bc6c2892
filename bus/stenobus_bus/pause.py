"""Pause and resume a handler: the server holds its events back, and its workers stay as they are.

The pause lies in the consumer itself, so it holds for every process, survives their restarts, and ends by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .connection import Bus
from .topology import handler_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a handler stands in one stream: its consumer, as the server sees it."""

    stream: str
    consumer: str
    #: Events that were never delivered.
    pending: int
    #: Events that were delivered and not settled: in work, or waiting for their next attempt.
    unsettled: int
    #: Until when the server holds its events back; None when it does not.
    paused_until: datetime | None

    @property
    def handler(self) -> str:
        """The handler it belongs to."""
        return handler_of(self.consumer)


async def places(bus: Bus, handler: str | None = None) -> list[Place]:
    """Every consumer of a handler, or of all.

    Raises:
        ServerUnavailable: the server does not answer.
    """
    found = [
        _place(info)
        async for stream in bus.pages("STREAM.NAMES", "streams")
        async for info in bus.pages(f"CONSUMER.LIST.{stream}", "consumers")
        if "durable_name" in info["config"]
    ]
    return [place for place in found if handler is None or place.handler == handler]


async def pause(bus: Bus, place: Place, until: datetime) -> None:
    """Hold a consumer's events back until a time. What is in work is finished. Raises ServerUnavailable."""
    await bus.api(f"CONSUMER.PAUSE.{place.stream}.{place.consumer}", {"pause_until": until.astimezone(UTC).isoformat()})


async def resume(bus: Bus, place: Place) -> None:
    """Deliver again. Raises ServerUnavailable."""
    await bus.api(f"CONSUMER.PAUSE.{place.stream}.{place.consumer}", {})


def _place(info: dict[str, Any]) -> Place:
    return Place(
        stream=info["stream_name"],
        consumer=info["name"],
        pending=info["num_pending"],
        unsettled=info["num_ack_pending"],
        paused_until=datetime.fromisoformat(info["config"]["pause_until"]) if info.get("paused") else None,
    )
