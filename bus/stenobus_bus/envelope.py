"""What travels around an event: CloudEvents attributes in headers, and the server's own facts about a delivery."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from nats.aio.msg import Msg

from stenobus_contracts import Event

from .traceparent import Trace, placeholder, trace_of, working

MSG_ID: Final = "Nats-Msg-Id"
#: The message is for this handler alone; every other handler acknowledges it unseen (dead-letter retry, replay).
ONLY: Final = "stenobus-only"
#: The message belongs to this replay. Ledger and transport ids are kept apart by it.
REPLAY: Final = "stenobus-replay"
#: What the handler makes of the message goes to this shadow: nothing behind it works on that.
SHADOW: Final = "stenobus-shadow"
#: The handler that did the work of which this message asks another one, for comparison.
INSTEAD: Final = "stenobus-instead"
#: Content type of CloudEvents JSON.
STRUCTURED: Final = "application/cloudevents+json"
#: The body is a BlobRef to the real body.
CLAIM: Final = "stenobus-claim"

_TOKEN: Final = re.compile(r"[A-Za-z0-9_=-]{1,128}")


def derived_id(*parts: object) -> str:
    """An id of 32 hexadecimal digits that follows from its parts: equal parts, equal id."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def token(text: str) -> str:
    """A text as one subject token or KV key part: itself when it can be, else an id derived from it."""
    return text if _TOKEN.fullmatch(text) else derived_id("token", text)


# Neither is frozen, though nobody changes one: they are made for every event, and frozen takes four times as long.


@dataclass(slots=True)
class Delivery:
    """The server's facts about one delivery, read from the acknowledgement subject."""

    stream: str
    consumer: str
    #: How often the server has delivered it, from 1.
    count: int
    sequence: int
    #: When the server stored it, nanoseconds since the epoch.
    timestamp: int
    #: Messages of the consumer that wait behind this one.
    pending: int

    @classmethod
    def of(cls, reply: str) -> Delivery:
        """Parse ``$JS.ACK.[domain.account.]stream.consumer.delivered.sseq.cseq.timestamp.pending[.token]``."""
        tokens = reply.split(".")
        first = 2 if len(tokens) == 9 else 4
        stream, consumer, count, sequence, _, timestamp, pending = tokens[first : first + 7]
        return cls(stream, consumer, int(count), int(sequence), int(timestamp), int(pending))


@dataclass(slots=True)
class Envelope:
    """CloudEvents 1.0 attributes of an event, with the run it belongs to and the event that led to it."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    #: Correlation id: the run.
    run: str
    #: Causation id: the event that led to this one.
    causation: str | None = None
    traceparent: str | None = None
    replay: str | None = None
    #: Where the outputs of the event's handler go instead of their own subjects.
    shadow: str | None = None

    @classmethod
    def new(cls, event: Event, source: str, *, run: str | None = None, id: str | None = None) -> Envelope:
        """The envelope of an event that starts a run."""
        event_id = id or str(uuid.uuid4())
        run = token(run or event_id)
        return cls(
            id=event_id,
            source=source,
            type=event.event_type,
            subject=event.full_subject,
            time=_now(),
            run=run,
            traceparent=placeholder(run, event_id),
        )

    @classmethod
    def received(cls, msg: Msg, delivery: Delivery, type: str, attributes: dict[str, str]) -> Envelope:
        """The envelope of a received event; whatever its producer did not say is derived from where it is stored."""
        found = attributes.get("id")
        event_id = found or derived_id(delivery.stream, delivery.sequence, delivery.timestamp)
        return cls(
            id=event_id,
            source=attributes.get("source", "unknown"),
            type=attributes.get("type", type),
            subject=msg.subject,
            time=attributes.get("time") or datetime.fromtimestamp(delivery.timestamp / 1e9, UTC).isoformat(),
            run=token(attributes.get("correlationid") or event_id),
            causation=attributes.get("causationid"),
            traceparent=attributes.get("traceparent"),
            replay=attributes.get(REPLAY),
            shadow=token(attributes[SHADOW]) if attributes.get(SHADOW) else None,
        )

    def follow(self, event: Event, handler: str, *salt: object) -> Envelope:
        """The envelope of an event that a handler makes out of this one: same parts, same id."""
        event_id = derived_id(self.source, self.id, handler, *salt)
        return replace(
            self,
            id=event_id,
            source=f"stenobus/{handler}",
            type=event.event_type,
            subject=event.full_subject,
            time=_now(),
            causation=self.id,
            traceparent=working.get() or placeholder(self.run, event_id, self.traceparent),
        )

    def output(self, event: Event, handler: str, *salt: object) -> Envelope:
        """The envelope of a handler's output: as :meth:`follow`, and on its way into the shadow of a shadowed event."""
        envelope = self.follow(event, handler, *salt)
        if self.shadow:
            envelope.subject = f"shadow.{self.shadow}.{event.full_subject}"
        return envelope

    @property
    def trace(self) -> Trace:
        """The trace it belongs to, and the span that published it."""
        return trace_of(self.run, self.id, self.traceparent)

    @property
    def transport_id(self) -> str:
        """What the server deduplicates by. Equal ids of two sources are two events."""
        return derived_id(self.source, self.id, self.replay)

    def headers(self) -> dict[str, str]:
        """The envelope as message headers (CloudEvents binary mode)."""
        headers = {
            MSG_ID: self.transport_id,
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-source": self.source,
            "ce-type": self.type,
            "ce-time": self.time,
            "ce-subject": self.subject,
            "ce-correlationid": self.run,
            "content-type": "application/json",
        }
        if self.causation:
            headers["ce-causationid"] = self.causation
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        if self.replay:
            headers[REPLAY] = self.replay
        if self.shadow:
            headers[SHADOW] = self.shadow
        return headers


def attributes(headers: Mapping[str, str] | None) -> dict[str, str]:
    """CloudEvents attributes (without their ``ce-`` prefix), trace and replay marks of a message's headers."""
    found: dict[str, str] = {}
    for name, value in (headers or {}).items():
        key = name.lower()
        if key.startswith("ce-"):
            found[key[3:]] = value
        elif key in {"traceparent", REPLAY, SHADOW, ONLY, INSTEAD, CLAIM, "content-type"}:
            found[key] = value
    if "id" not in found and headers and MSG_ID in headers:
        found["id"] = headers[MSG_ID]
    return found


def unwrap(data: bytes, found: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """The data and attributes of an event in structured CloudEvents JSON; anything else as it is.

    Raises:
        ValueError: it says that it is structured, and is no JSON, or its attributes hold half a character.
        RecursionError: it is nested too deeply.
    """
    structured = found.get("content-type", "").startswith("application/cloudevents")
    if not structured and ("id" in found or b'"specversion"' not in data):
        return data, found
    outer = json.loads(data)
    if not isinstance(outer, dict) or "specversion" not in outer or "data" not in outer:
        return data, found
    lifted = {name: str(outer[name]) for name in outer.keys() - {"data", "specversion"} if outer[name] is not None}
    "".join(lifted.values()).encode()  # JSON can spell half a character, and no header can carry it
    return json.dumps(outer["data"]).encode(), {**lifted, **found}


def structured(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether an event is CloudEvents JSON, which holds the attributes, and the event itself in ``data``."""
    try:
        return unwrap(body, attributes(headers))[0] is not body
    except (ValueError, RecursionError):
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
