"""Which stored events a replay is about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from stenobus_contracts import Event

from .connection import Bus
from .envelope import SHADOW, attributes, derived_id, unwrap
from .errors import BlobNotFound, PermanentError
from .history import Remembered, events, read
from .topology import domain_stream
from .where import Where

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Stored events of a contract by place, time, run and content; all that is said must hold."""

    contract: type[Event]
    #: One of the contract's subjects; all of its lanes when None.
    subject: str | None = None
    #: Stored at or after, and before.
    since: datetime | None = None
    until: datetime | None = None
    #: Sequences, both included.
    from_sequence: int = 1
    to_sequence: int | None = None
    run: str | None = None
    where: tuple[Where, ...] = ()
    #: Most events, the oldest first.
    limit: int | None = None

    @property
    def stream(self) -> str:
        """Where they are stored."""
        return domain_stream(self.contract.subject)


async def select(bus: Bus, selection: Selection) -> AsyncIterator[Remembered]:
    """The selected events, oldest first, each once: a copy that an earlier replay stored is no further event.

    Bodies pass through; what is kept of an event while the others are read is a digest of its id.

    Raises:
        ServerUnavailable: the stream, or the bucket of large bodies, does not answer.
    """
    seen: set[str] = set()
    choice: dict[str, Any] = {
        "from_sequence": selection.from_sequence,
        "since": selection.since,
        "run": selection.run,
    }
    stored: AsyncIterator[Remembered] = (
        read(bus, selection.stream, selection.subject, **choice)
        if selection.subject
        else events(bus, selection.contract, **choice)
    )
    async for message in stored:
        if selection.to_sequence is not None and message.sequence > selection.to_sequence:
            return
        if selection.until is not None and message.time >= selection.until:
            return
        found = message.attributes
        if SHADOW in found:
            continue  # a trial's
        key = derived_id(found.get("source"), message.event_id)
        if key in seen or not await _holds(bus, message, selection.where):
            continue
        seen.add(key)
        yield message
        if len(seen) == selection.limit:
            return


async def _holds(bus: Bus, message: Remembered, where: tuple[Where, ...]) -> bool:
    if not where:
        return True
    payload = await payload_of(bus, message) if any(condition.of_payload for condition in where) else None
    return all(condition.holds(payload, message.attributes, message.headers) for condition in where)


async def payload_of(bus: Bus, message: Remembered) -> Any:
    """A stored event's payload, wherever its body waits; None when it is no JSON or its body is gone."""
    try:
        data, _ = unwrap(await bus.claims.whole(message.data, message.headers), attributes(message.headers))
        return json.loads(data)
    except (ValueError, RecursionError, BlobNotFound, PermanentError) as error:
        log.warning("event.unreadable", stream=message.stream, sequence=message.sequence, error=str(error))
        return None
