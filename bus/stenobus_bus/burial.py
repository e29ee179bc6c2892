"""How an event that could not be handled becomes a dead letter, and who knows that it did."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from nats.aio.msg import Msg

from stenobus_contracts import DeadLetter, Reason

from .connection import Bus
from .dead_letters import STREAM
from .envelope import MSG_ID, Delivery, Envelope
from .history import read

_TRACEBACK_LIMIT: Final = 16_384
#: Nanoseconds by which the server's clock may have been set back between an event and its letter.
_MARGIN: Final = 3600 * 1_000_000_000
#: Nanoseconds for which letters are remembered: as long as their stream keeps them.
_MEMORY: Final = 30 * 86_400 * 1_000_000_000


async def bury(
    bus: Bus,
    handler: str,
    msg: Msg,
    delivery: Delivery,
    envelope: Envelope,
    reason: Reason,
    error: BaseException,
    attempts: int,
    traceback: str | None,
    *,
    gone: bool = False,
) -> None:
    """Store an event with everything needed to understand and retry it.

    Args:
        gone: the event itself could not be found any more.

    Raises:
        BusError: it could not be stored; the original must not be terminated.
    """
    letter = DeadLetter(
        handler=handler,
        reason=reason,
        error=type(error).__name__,
        message=_unicode(str(error)) or type(error).__name__,
        traceback=_unicode(traceback[-_TRACEBACK_LIMIT:]) if traceback else None,
        attempts=max(1, attempts),
        event_id=envelope.id,
        run=envelope.run,
        causation=envelope.causation,
        stream=delivery.stream,
        sequence=delivery.sequence,
        original_subject=msg.subject,
        failed_at=datetime.now(UTC),
        headers=dict(msg.headers or {}),
        **({} if gone else _data(msg.data)),
    )
    body, claim = await bus.claims.check_in(letter.model_dump_json(exclude_none=True).encode())
    headers = {MSG_ID: _letter_id(handler, delivery), "content-type": "application/json", **claim}
    await bus.store(f"dlq.{handler}.{reason}", body, headers)


def whereabouts(handler: str, reason: str) -> str:
    """What a handler says when it terminates an event whose dead letter is stored."""
    return f"{reason}: see dlq.{handler}"


@dataclass(slots=True)
class _Known:
    """Letters of one handler that were read."""

    #: From when on, nanoseconds since the epoch; 0 for all there were.
    since: int
    #: Up to which place in the stream.
    last: int = 0
    #: Ids, and when their letters were stored, oldest first.
    ids: dict[str, int] = field(default_factory=dict)


class LetterBook:
    """Which events have a dead letter, told also when the server's window for duplicates is long over.

    No letter is older than its event, so that the first look reads none that came before it; each further one reads
    no more than came since. What is older than any letter that its stream keeps is forgotten.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, _Known] = {}

    async def holds(self, handler: str, delivery: Delivery) -> bool:
        """Whether an event has, or had, a dead letter of a handler; one without a timestamp is any at that place.

        Raises:
            ServerUnavailable: the stream of dead letters does not answer.
        """
        begin = max(0, delivery.timestamp - _MARGIN)
        known = self._known.get(handler)
        if known is None or begin < known.since:
            known = self._known[handler] = _Known(begin)
        since = datetime.fromtimestamp(known.since / 1e9, UTC) if known.since and not known.last else None
        async for message in read(self._bus, STREAM, f"dlq.{handler}.>", from_sequence=known.last + 1, since=since):
            known.ids[message.headers.get(MSG_ID, "")] = message.timestamp
            known.last = message.sequence
            while known.ids[oldest := next(iter(known.ids))] < message.timestamp - _MEMORY:
                del known.ids[oldest]
        wanted = _letter_id(handler, delivery)
        if delivery.timestamp:
            return wanted in known.ids
        return any(id.rpartition("/")[0] == wanted.rpartition("/")[0] for id in known.ids)


def _letter_id(handler: str, delivery: Delivery) -> str:
    """Where the original lies identifies it: its own id may be a lie, or be shared by a replay."""
    return f"dlq/{handler}/{delivery.stream}/{delivery.sequence}/{delivery.timestamp}"


def _unicode(text: str) -> str:
    """A text that can be stored: names of files may hold bytes that are no characters."""
    return text.encode(errors="backslashreplace").decode()


def _data(body: bytes) -> dict[str, str]:
    try:
        return {"data": body.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(body).decode()}
