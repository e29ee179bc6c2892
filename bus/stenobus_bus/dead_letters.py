"""Events that could not be handled: store, list, retry, purge."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar, get_args

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError

from stenobus_contracts import DeadLetter, Event, Reason

from . import history
from .connection import ApiError, Bus
from .envelope import (
    CLAIM,
    MSG_ID,
    ONLY,
    REPLAY,
    STRUCTURED,
    Delivery,
    Envelope,
    attributes,
    derived_id,
    structured,
    token,
    unwrap,
)
from .errors import BlobNotFound, InvalidPayload, LetterRefused, PermanentError
from .history import Ahead, Remembered, ahead, read
from .post import Stored

T = TypeVar("T")

STREAM: Final = "DLQ"
#: The event was published again from this dead letter.
RETRY: Final = "stenobus-retry"
#: The event's body was edited by a person; the digest of the original one.
EDITED: Final = "stenobus-edited"

_REASONS: Final = frozenset(get_args(Reason))
_TRACEBACK_LIMIT: Final = 16_384
#: Subjects of events: nothing of the server's own, no wildcard, no end of a line.
_SUBJECT: Final = re.compile(r"[^\s.*>$_][^\s.*>]*(\.[^\s.*>]+)*")
_HEADER: Final = re.compile(r"[!-9;-~]+")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
#: Seconds the server gets to delete many letters in one step.
_PURGE: Final = 60.0

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """A dead letter and its place in the stream."""

    sequence: int
    letter: DeadLetter


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


# --- which ones -------------------------------------------------------------------------------------------------------


class Unreadable(NamedTuple):
    """What lies among the dead letters and is none. Anybody can publish there, and it must not hide the others."""

    sequence: int
    message: Remembered
    #: One sentence.
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters; what is None chooses all.

    Args:
        run: only of this run, for which every letter has to be read.
        since: stored at or after this time.
        until: stored before this time.
    """

    handler: str | None = None
    reason: Reason | None = None
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def subject(self) -> str:
        """The filter that the server applies."""
        if self.reason:
            return f"dlq.{self.handler or '*'}.{self.reason}"
        return f"dlq.{self.handler}.>" if self.handler else "dlq.>"


@dataclass(slots=True)
class Group:
    """Dead letters of one handler and reason."""

    handler: str
    #: None for what lies where no dead letter belongs.
    reason: str | None
    count: int = 0
    oldest: datetime = _NEVER
    #: The newest ones, in the order they came.
    newest: deque[Entry | Unreadable] = field(default_factory=deque)


async def find(bus: Bus, number: int) -> Entry | Unreadable | None:
    """One dead letter, or None when there is none. Raises ServerUnavailable."""
    message = await history.find(bus, STREAM, number)
    return await _entry(bus, message) if message else None


async def choose(bus: Bus, choice: Choice) -> AsyncGenerator[Entry | Unreadable, None]:
    """Chosen dead letters in the order they came, up to what is there when the reading begins.

    What cannot be read belongs to no run. Raises ServerUnavailable.
    """
    async for message in _stored(bus, choice):
        entry = await _entry(bus, message)
        if choice.run is None or (isinstance(entry, Entry) and entry.letter.run == token(choice.run)):
            yield entry


async def letters(bus: Bus, handler: str | None = None) -> AsyncIterator[Entry]:
    """Dead letters in the order they came, of one handler or of all. Raises ServerUnavailable."""
    async for entry in choose(bus, Choice(handler)):
        if isinstance(entry, Entry):
            yield entry
        else:
            log.warning("dead_letter.unreadable", stream=STREAM, sequence=entry.sequence, error=entry.why)


async def counts(bus: Bus) -> dict[tuple[str, str], int]:
    """How many dead letters there are of each handler and reason. Raises BusError."""
    found: dict[tuple[str, str], int] = {}
    for subject, count in (await _subjects(bus, "dlq.*.*")).items():
        _, handler, reason = subject.split(".")
        if reason in _REASONS:
            found[handler, reason] = count
    return found


async def groups(bus: Bus, choice: Choice, newest: int = 5) -> list[Group]:
    """Chosen dead letters by handler and reason, the largest group first.

    The server counts them: only the newest ones are read, unless a run is chosen.

    Args:
        newest: how many of each group to read.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    found: dict[tuple[str, str | None], Group] = {}
    if choice.run is not None:
        async for entry in choose(bus, choice):
            if isinstance(entry, Entry):
                group = _group(found, f"dlq.{entry.letter.handler}.{entry.letter.reason}")
                group.count += 1
                group.oldest = min(group.oldest, entry.letter.failed_at)
                group.newest.append(entry)
                if len(group.newest) > newest:
                    group.newest.popleft()
    else:
        for subject in await _subjects(bus, choice.subject):
            await _count(bus, choice, subject, found, newest)
    return sorted(found.values(), key=lambda group: (-group.count, group.handler, group.reason or ""))


async def _count(
    bus: Bus, choice: Choice, subject: str, found: dict[tuple[str, str | None], Group], newest: int
) -> None:
    """Add the letters of one subject to their group."""
    begin = await ahead(bus, STREAM, subject, since=choice.since)
    end = await ahead(bus, STREAM, subject, since=choice.until) if choice.until else Ahead(None, 0)
    count = begin.count - end.count
    if begin.first is None or count <= 0:
        return
    group = _group(found, subject)
    group.count += count
    group.oldest = min(group.oldest, begin.first.time)
    # Numbers have holes, so where the newest ones begin is found by asking how many there are from a number on.
    low, high, wanted = begin.first.sequence, await _last(bus), min(newest, count) + end.count
    while low < high:
        middle = (low + high) // 2
        if (await ahead(bus, STREAM, subject, from_sequence=middle)).count > wanted:
            low = middle + 1
        else:
            high = middle
    if newest:
        async for message in read(bus, STREAM, subject, from_sequence=low):
            if end.first and message.sequence >= end.first.sequence:
                break
            group.newest.append(await _entry(bus, message))
            if len(group.newest) > newest:
                group.newest.popleft()


def _group(found: dict[tuple[str, str | None], Group], subject: str) -> Group:
    handler, _, reason = subject.partition(".")[2].partition(".")
    key = (handler, reason) if reason in _REASONS else (subject, None)
    return found.setdefault(key, Group(*key))


async def _stored(bus: Bus, choice: Choice) -> AsyncGenerator[Remembered, None]:
    async for message in read(bus, STREAM, choice.subject, since=choice.since):
        if choice.until and message.time >= choice.until:
            return
        if choice.since is None or message.time >= choice.since:
            yield message


async def _subjects(bus: Bus, pattern: str) -> dict[str, int]:
    """Subjects of the dead letters, and how many lie on each."""
    found: dict[str, int] = {}
    while True:
        info = await bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": pattern, "offset": len(found)})
        page = info["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= info.get("total", 0):
            return found


async def _last(bus: Bus) -> int:
    return int((await bus.api(f"STREAM.INFO.{STREAM}"))["state"]["last_seq"])


async def _entry(bus: Bus, message: Remembered) -> Entry | Unreadable:
    try:
        letter = DeadLetter.model_validate_json(await bus.claims.whole(message.data, message.headers))
        data(letter)
        if letter.failed_at.tzinfo is None:
            raise ValueError("failed_at: it says no time zone")
        letter.failed_at.astimezone(UTC)
    except (ValueError, OverflowError, BlobNotFound, PermanentError) as error:
        return Unreadable(message.sequence, message, _why(error))
    if message.subject != f"dlq.{letter.handler}.{letter.reason}":
        where = f"it says that it is of {letter.handler}, {letter.reason}, and lies on {message.subject}"
        return Unreadable(message.sequence, message, where)
    return Entry(message.sequence, letter)


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it is no dead letter'}: {first['msg']}"
    return str(error)


# --- what becomes of them ---------------------------------------------------------------------------------------------


async def original(bus: Bus, letter: DeadLetter) -> bytes:
    """The original body, wherever it waits.

    Raises:
        LetterRefused: it is gone.
        ServerUnavailable: the object bucket does not answer.
    """
    if letter.data is None and letter.data_base64 is None:
        raise LetterRefused("the event was gone from its stream before it could be kept")
    try:
        return await bus.claims.whole(data(letter), letter.headers)
    except (ValueError, BlobNotFound, PermanentError) as error:
        raise LetterRefused(f"its body is gone: {error}") from error


def validate(letter: DeadLetter, edited: bytes, contract: type[Event]) -> None:
    """Check an edited body as the handler will.

    Raises:
        InvalidPayload: it breaks the contract.
    """
    try:
        contract.model_validate_json(unwrap(edited, attributes(letter.headers))[0])
    except Exception as error:  # a contract's own validators can raise anything
        raise InvalidPayload.of(error, contract) from error


async def retry(bus: Bus, entry: Entry, edited: bytes | None = None) -> Stored:
    """Publish the original again, for the handler that gave up and for nobody else, then remove the dead letter.

    The id of what is published follows from the letter and the edit: doing it twice, because somebody else does it too
    or the first time ended between the two steps, lets the handler work on it once.

    Args:
        edited: a body to publish in place of the original one. The event then carries the digest of the original.

    Raises:
        LetterRefused: the original is gone, or cannot be published as it is; the dead letter stays.
        PublishFailed: it was not stored; the dead letter stays.
    """
    letter = entry.letter
    subject, body, headers = letter.original_subject, data(letter), _plain_headers(letter)
    if not _SUBJECT.fullmatch(subject):
        raise LetterRefused(f"no event has the subject {subject!r}")
    try:
        whole = await original(bus, letter)
    except LetterRefused:
        if edited is None:
            raise
        whole = b""  # the edit makes up for it
    mark = derived_id(
        entry.sequence, letter.handler, letter.stream, letter.sequence, letter.failed_at, _digest(edited)
    )[:12]
    if structured(whole if edited is None else edited, headers):
        headers["content-type"] = STRUCTURED  # with the id in a header, nobody would look inside
    if edited is not None:
        body, claim = await bus.claims.check_in(edited)
        headers = {name: value for name, value in headers.items() if name.lower() != CLAIM} | claim
        headers[EDITED] = f"sha256:{_digest(whole)}"
    headers |= {
        MSG_ID: f"retry/{mark}",
        "ce-id": letter.event_id,
        "ce-correlationid": letter.run,
        ONLY: letter.handler,
        REPLAY: mark,
        RETRY: f"{STREAM}/{entry.sequence}",
    }
    stored = await bus.store(subject, body, headers)
    await remove(bus, entry)
    return stored


async def remove(bus: Bus, entry: Entry | Unreadable) -> None:
    """Delete one dead letter for good; that somebody else did so already is as good. Raises ServerUnavailable."""
    try:
        await bus.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": entry.sequence})
    except ApiError:
        if await history.find(bus, STREAM, entry.sequence):
            raise


async def purge(bus: Bus, choice: Choice, *, width: int = 64) -> int:
    """Delete chosen dead letters for good, and whatever else lies on their subjects; not what comes meanwhile.

    Args:
        width: deletions on the way at once, where the server cannot do it in one step.

    Returns:
        How many there were.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    if choice.run is None and choice.since is None:
        end = await ahead(bus, STREAM, choice.subject, since=choice.until) if choice.until else None
        before = end.first.sequence if end and end.first else await _last(bus) + 1
        answer = await bus.api(f"STREAM.PURGE.{STREAM}", {"filter": choice.subject, "seq": before}, timeout=_PURGE)
        return int(answer["purged"])
    count = 0
    async for batch in batches(choose(bus, choice), width):
        await asyncio.gather(*(remove(bus, entry) for entry in batch))
        count += len(batch)
    return count


async def batches(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    """Items in lists of a size, the last one shorter."""
    batch: list[T] = []
    async for item in items:
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def data(letter: DeadLetter) -> bytes:
    """The original message's bytes: the body, or the reference to a large one. Raises ValueError for no base64."""
    if letter.data_base64 is not None:
        return base64.b64decode(letter.data_base64, validate=True)
    return (letter.data or "").encode()


def _plain_headers(letter: DeadLetter) -> dict[str, str]:
    """The original headers without those that the server reads.

    Raises:
        LetterRefused: one would end its line, and begin another.
    """
    for name, value in letter.headers.items():
        if not _HEADER.fullmatch(name) or set(value) & {"\r", "\n"}:
            raise LetterRefused(f"no event has the header {name!r}: {value!r}")
    return {name: value for name, value in letter.headers.items() if not name.lower().startswith("nats-")}


def _digest(body: bytes | None) -> str | None:
    return None if body is None else hashlib.sha256(body).hexdigest()


def _unicode(text: str) -> str:
    """A text that can be stored: names of files may hold bytes that are no characters."""
    return text.encode(errors="backslashreplace").decode()


def _data(body: bytes) -> dict[str, str]:
    try:
        return {"data": body.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(body).decode()}
