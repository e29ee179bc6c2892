"""Stored events: which run has come how far, what their content says, and what clocks their producers had."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError

from stenobus_bus import BlobNotFound, Bus, HandlerError, PermanentError
from stenobus_bus.connection import ApiError
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import STREAM_NOT_FOUND, domain_stream
from stenobus_contracts import BlobRef
from stenobus_core.blobs import Blobs
from stenobus_core.errors import StenobusError

from ..observations import BlobChecked, EventStored
from . import Emit

log = structlog.get_logger(__name__)

#: How far back it reads at the beginning: what is usual follows from that.
_HISTORY: Final = timedelta(days=7)
#: Events of one subject in one look.
_AT_ONCE: Final = 2000
#: Bytes of an event that are searched for references, references of one event, and levels of its JSON.
_LARGEST, _REFERENCES, _DEPTH = 1024 * 1024, 20, 20
#: Bytes of content that are read to check it; larger content is checked by whoever uses it.
_CONTENT: Final = 64 * 1024 * 1024
#: Bytes of content that one look may read, and contents that are remembered as checked.
_BUDGET: Final = 256 * 1024 * 1024
_CHECKED: Final = 5000
#: Content of events older than this was checked before, or never will be: it may be gone by now.
_FRESH: Final = timedelta(hours=1)


class EventCollector:
    """Reads what was stored on some subjects since the last look, and the content it refers to.

    Args:
        subjects: those that it reads.
        every: seconds between two looks.
    """

    name = "events"

    def __init__(
        self,
        bus: Bus,
        blobs: Blobs,
        subjects: Sequence[str],
        every: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._blobs, self._subjects, self._every, self._clock = bus, blobs, subjects, every, clock
        self._places: dict[str, int] = {}
        self._checked: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._left = 0

    async def run(self, emit: Emit) -> None:
        """Read again and again."""
        while True:
            self._left = _BUDGET
            for subject in self._subjects:
                try:
                    await self._read(subject, emit)
                except ApiError as error:
                    if error.err_code != STREAM_NOT_FOUND:  # that is another one's news, who watches the streams
                        raise
            await asyncio.sleep(self._every)

    async def _read(self, subject: str, emit: Emit) -> None:
        known = self._places.get(subject)
        since = None if known is not None else self._clock() - _HISTORY
        count = 0
        stored = read(self._bus, domain_stream(subject), subject, from_sequence=(known or 0) + 1, since=since)
        async with aclosing(stored):
            async for message in stored:
                self._places[subject] = message.sequence
                await emit(_stored(message))
                await self._check(message, emit)
                count += 1
                if count == _AT_ONCE:
                    break
        self._places.setdefault(subject, 0)

    async def _check(self, message: Remembered, emit: Emit) -> None:
        """Compare content with what the event says of it, once."""
        if self._clock() - message.time > _FRESH:
            return
        for ref in references(message.data):
            key = ref.uri, ref.sha256
            if key in self._checked or ref.size > min(_CONTENT, self._left):
                continue
            self._left -= ref.size
            self._checked[key] = None
            if len(self._checked) > _CHECKED:
                self._checked.popitem(last=False)
            trouble, gone = None, False
            try:
                async for _ in self._blobs.chunks(ref):
                    pass
            except BlobNotFound as error:
                if urlsplit(ref.uri).scheme == "file":
                    continue  # another machine's, perhaps
                trouble, gone = str(error)[:500], True
            except PermanentError as error:
                trouble = str(error)[:500]
            except (HandlerError, StenobusError, OSError) as error:  # a store that is away, or not set up here
                log.info("monitor.unchecked", uri=ref.uri, reason=str(error))
                continue
            await emit(
                BlobChecked(
                    at=self._clock(), uri=ref.uri, run=message.run, subject=message.subject, trouble=trouble, gone=gone
                )
            )


def references(data: bytes) -> list[BlobRef]:
    """References to content anywhere in an event, those with a hash."""
    if len(data) > _LARGEST:
        return []
    try:
        return list(_references(json.loads(data), 0))[:_REFERENCES]
    except (ValueError, RecursionError):
        return []


def _references(value: Any, depth: int) -> Iterator[BlobRef]:
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        if isinstance(value.get("uri"), str) and isinstance(value.get("sha256"), str):
            try:
                yield BlobRef.model_validate(value)
            except ValidationError:
                return
        for inner in value.values():
            yield from _references(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, depth + 1)


def _stored(message: Remembered) -> EventStored:
    attributes = message.attributes
    said: datetime | None = None
    with suppress(KeyError, ValueError, OverflowError):  # nobody must say
        said = datetime.fromisoformat(attributes["time"]).astimezone(UTC)
    return EventStored(
        at=message.time,
        subject=message.subject,
        run=message.run,
        event_id=message.event_id,
        source=attributes.get("source", "unknown")[:200],
        said=said,
    )
