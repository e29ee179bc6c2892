"""Events that could not be handled: which there are, and their end."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar, get_args

import structlog
from pydantic import ValidationError

from stenobus_contracts import DeadLetter, Reason

from . import history
from .connection import ApiError, Bus
from .envelope import token
from .errors import BlobNotFound, PermanentError, first_fault
from .history import Ahead, Remembered, ahead, read

T = TypeVar("T")

STREAM: Final = "DLQ"

_REASONS: Final = frozenset(get_args(Reason))
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
#: Seconds the server gets to delete many letters in one step.
_PURGE: Final = 60.0

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """A dead letter and its place in the stream."""

    sequence: int
    letter: DeadLetter


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
        why = first_fault(error, "it is no dead letter") if isinstance(error, ValidationError) else str(error)
        return Unreadable(message.sequence, message, why)
    if message.subject != f"dlq.{letter.handler}.{letter.reason}":
        where = f"it says that it is of {letter.handler}, {letter.reason}, and lies on {message.subject}"
        return Unreadable(message.sequence, message, where)
    return Entry(message.sequence, letter)


# --- what becomes of them ---------------------------------------------------------------------------------------------


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
