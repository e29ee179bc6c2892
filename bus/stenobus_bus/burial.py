"""How an event that could not be handled becomes a dead letter, and who knows that it did."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

from nats.aio.msg import Msg

from stenobus_contracts import DeadLetter, Reason

from .connection import Bus
from .dead_letters import STREAM
from .envelope import MSG_ID, Delivery, Envelope
from .history import read

_TRACEBACK_LIMIT: Final = 16_384


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


class LetterBook:
    """Which events have a dead letter, told also when the server's window for duplicates is long over.

    Each look reads no more than the letters that came since the one before.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, tuple[set[str], int]] = {}

    async def holds(self, handler: str, delivery: Delivery) -> bool:
        """Whether an event has, or had, a dead letter of a handler; one without a timestamp is any at that place.

        Raises:
            ServerUnavailable: the stream of dead letters does not answer.
        """
        ids, last = self._known.get(handler, (set(), 0))
        async for message in read(self._bus, STREAM, f"dlq.{handler}.>", from_sequence=last + 1):
            ids.add(message.headers.get(MSG_ID, ""))
            last = message.sequence
        self._known[handler] = ids, last
        wanted = _letter_id(handler, delivery)
        if delivery.timestamp:
            return wanted in ids
        return any(known.rpartition("/")[0] == wanted.rpartition("/")[0] for known in ids)


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
