"""What the streams remember: read it, and hand parts of it to a handler again."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from stenobus_contracts import Event

from . import direct
from .connection import Bus
from .envelope import (
    CLAIM,
    INSTEAD,
    MSG_ID,
    ONLY,
    REPLAY,
    SHADOW,
    STRUCTURED,
    attributes,
    derived_id,
    structured,
    token,
    unwrap,
)
from .errors import ServerUnavailable
from .post import Post
from .topology import domain_stream

#: Events on the way at once in a replay.
_WINDOW: Final = 256


@dataclass(frozen=True, slots=True)
class Remembered:
    """A stored message."""

    stream: str
    sequence: int
    subject: str
    #: When the server stored it, nanoseconds since the epoch.
    timestamp: int
    data: bytes
    headers: dict[str, str]

    @property
    def time(self) -> datetime:
        """When the server stored it, rounded down: what is read since then includes it."""
        seconds, rest = divmod(self.timestamp, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)

    @property
    def event_id(self) -> str:
        """The event's id, derived as a handler derives it when the producer gave none."""
        return self.attributes.get("id") or derived_id(self.stream, self.sequence, self.timestamp)

    @property
    def run(self) -> str:
        """The run the event belongs to."""
        return token(self.attributes.get("correlationid") or self.event_id)

    @property
    def attributes(self) -> dict[str, str]:
        """Its CloudEvents attributes, wherever the producer put them."""
        found = attributes(self.headers)
        try:
            return found if CLAIM in found else unwrap(self.data, found)[1]
        except (ValueError, RecursionError):
            return found  # a handler buries it under what its headers say


async def read(
    bus: Bus,
    stream: str,
    subject: str,
    *,
    from_sequence: int = 1,
    since: datetime | None = None,
    run: str | None = None,
) -> AsyncGenerator[Remembered, None]:
    """Stored messages, oldest first, up to what is there when the reading begins.

    Args:
        subject: filter, wildcards allowed.
        from_sequence: first sequence.
        since: only what was stored at or after this time.
        run: only events of this run.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    last = (await bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    begin = _rfc3339(since) if since else None
    try:
        async for msg in direct.messages(bus.nc, stream, subject, start=from_sequence, since=begin):
            message = _remembered(stream, msg)
            if message.sequence > last:
                return
            if message.sequence >= from_sequence and (run is None or message.run == token(run)):
                yield message
    except (NatsError, TimeoutError) as error:
        raise ServerUnavailable(f"The stream {stream} does not answer ({type(error).__name__}).") from error


async def events(bus: Bus, contract: type[Event], **choice: Any) -> AsyncIterator[Remembered]:
    """The stored events of a contract on all its lanes, oldest first.

    Args:
        choice: which, as :func:`read` takes it.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    stream = domain_stream(contract.subject)
    lanes = [read(bus, stream, subject, **choice) for subject in contract.subjects()]
    heads = {lane: message for lane in lanes if (message := await anext(lane, None))}
    while heads:
        lane = min(heads, key=lambda each: heads[each].sequence)
        yield heads.pop(lane)
        if following := await anext(lane, None):
            heads[lane] = following


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is stored from a place on."""

    first: Remembered | None
    #: Messages, the first one included.
    count: int


async def ahead(bus: Bus, stream: str, subject: str, *, from_sequence: int = 1, since: datetime | None = None) -> Ahead:
    """How many messages there are from a sequence or a time on. The server counts them: none but the first is read.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    begin = _rfc3339(since) if since else None
    try:
        async with aclosing(
            direct.messages(bus.nc, stream, subject, start=from_sequence, since=begin, batch=1)
        ) as found:
            async for msg in found:
                return Ahead(_remembered(stream, msg), int((msg.headers or {})["Nats-Num-Pending"]) + 1)
    except (NatsError, TimeoutError) as error:
        raise ServerUnavailable(f"The stream {stream} does not answer ({type(error).__name__}).") from error
    return Ahead(None, 0)


async def causes(bus: Bus, streams: Sequence[str], event_id: str, run: str, before: datetime) -> list[Remembered]:
    """An event of a run and what led to it, the first cause first, as far as the streams still hold it.

    Looks back in growing steps, since an event is rarely far from its cause.

    Args:
        before: events stored at or after this time are left out.

    Raises:
        ServerUnavailable: a stream does not answer.
    """
    chain: list[Remembered] = []
    known: dict[str, Remembered] = {}
    wanted: str | None = event_id
    end = before
    for step in (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), None):
        begin = before - step if step else None
        found: dict[str, Remembered] = {}
        for stream in streams:
            async with aclosing(read(bus, stream, ">", since=begin, run=run)) as messages:
                async for message in messages:
                    if message.time >= end:
                        break
                    found[message.event_id] = message
        known = found | known
        while wanted and (cause := known.pop(wanted, None)):
            chain.append(cause)
            wanted = cause.attributes.get("causationid")
        if not wanted or begin is None:
            break
        end = begin
    return chain[::-1]


async def find(bus: Bus, stream: str, sequence: int) -> Remembered | None:
    """One stored message, or None when it is gone.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    try:
        msg = await direct.message(bus.nc, stream, sequence)
    except (NatsError, TimeoutError) as error:
        raise ServerUnavailable(f"The stream {stream} does not answer ({type(error).__name__}).") from error
    return _remembered(stream, msg) if msg else None


async def replay(
    bus: Bus,
    handler: str,
    messages: Iterable[Remembered] | AsyncIterable[Remembered],
    *,
    replay_id: str | None = None,
    instead_of: str | None = None,
    shadow: str | None = None,
) -> str:
    """Hand stored events to one handler again.

    Every other handler of the subject leaves them alone. What the handler publishes carries the same replay mark, so
    that the handlers behind it work again as well, and none of it is taken for a duplicate of the first time.

    Args:
        messages: read as they are sent, so that no more than a few hundred are in memory.
        replay_id: as :func:`new_replay` makes it.
        instead_of: the handler whose work this one does for comparison.
        shadow: where the outputs go, so that nothing behind the handler works on them.

    Returns:
        The replay's id, which handlers see and outputs carry.

    Raises:
        PublishFailed: an event was not stored.
    """
    replay_id = replay_id or new_replay()
    marks = {ONLY: handler, REPLAY: replay_id}
    if instead_of:
        marks[INSTEAD] = instead_of
    if shadow:
        marks[SHADOW] = shadow
    waiting: deque[Post] = deque()
    async for message in _each(messages):
        kept = {name: value for name, value in message.headers.items() if not _is_mark(name)}
        headers = {
            **kept,
            MSG_ID: f"{replay_id}/{message.stream}/{message.sequence}",
            "ce-id": message.event_id,
            "ce-correlationid": message.run,
            **marks,
        }
        if structured(message.data, kept):
            headers["content-type"] = STRUCTURED  # with the id in a header, nobody would look inside
        if len(waiting) >= _WINDOW:
            await waiting.popleft().stored()
        waiting.append(await bus.post(message.subject, message.data, headers))
    for post in waiting:
        await post.stored()
    return replay_id


def new_replay() -> str:
    """An id for a replay."""
    return uuid.uuid4().hex[:12]


def _is_mark(header: str) -> bool:
    """Headers that belong to one message, and not to its event."""
    return header.startswith("Nats-") or header.lower() in {ONLY, REPLAY, SHADOW, INSTEAD}


async def _each(messages: Iterable[Remembered] | AsyncIterable[Remembered]) -> AsyncIterator[Remembered]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message


def _remembered(stream: str, msg: Msg) -> Remembered:
    headers = dict(msg.headers or {})
    return Remembered(
        stream=stream,
        sequence=int(headers.pop("Nats-Sequence")),
        subject=headers.pop("Nats-Subject"),
        timestamp=_nanoseconds(headers.pop("Nats-Time-Stamp")),
        data=msg.data,
        headers={name: value for name, value in headers.items() if name not in _DIRECT_HEADERS},
    )


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


_DIRECT_HEADERS = frozenset({"Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence"})


def _nanoseconds(text: str) -> int:
    """An RFC 3339 time in UTC, of which datetime reads only microseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))
