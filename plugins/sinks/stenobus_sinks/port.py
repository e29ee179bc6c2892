"""What a knowledge base elsewhere has to offer, so that a collection can be brought up to date in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

#: Says how far it is: a fraction from 0 to 1 and a few words.
Progress = Callable[[float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sink remembers of a document."""

    #: Digest of what it holds, None when the document was removed.
    digest: str | None
    #: Of the event that brought or removed it; see :attr:`Change.order`.
    order: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document to be found, as every sink gets it."""

    id: str
    title: str
    uri: str | None
    metadata: Mapping[str, JsonValue]
    principals: tuple[str, ...]
    #: Follows from all of the above, the text, and what the sink makes of them.
    digest: str
    #: Reads its Markdown or plain text; raises PermanentError when that cannot be had.
    text: Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Change:
    """What has to become different in one collection."""

    collection: str
    #: Grows from event to event. A sink keeps what came by a greater one.
    order: int
    #: 64 hexadecimal digits that follow from the event: the same when it is tried again.
    token: str
    upsert: Sequence[Document] = ()
    delete: Sequence[str] = ()


@dataclass(slots=True)
class Outcome:
    """What came of a change."""

    #: Documents that are not in it, or not as they should be: id to one sentence.
    problems: dict[str, str] = field(default_factory=dict)
    #: Documents of which it held a newer version by then.
    superseded: set[str] = field(default_factory=set)


class Sink(Protocol):
    """A knowledge base.

    Raises:
        PermanentError: from every method: somebody has to change something first.
        RetryableError: from every method: it may work later. What was done is not done again then.
    """

    #: As it is called in ``kb.synced``.
    name: str
    #: What it makes of a document: another one makes every document outdated.
    version: str

    async def known(self, collection: str, ids: Sequence[str]) -> Mapping[str, Mark]:
        """What it remembers of some documents."""
        ...

    async def apply(self, change: Change, progress: Progress) -> Outcome:
        """Make a change, and return once it can be found. What breaks off is repeated: marks are written last."""
        ...

    async def size(self, collection: str) -> int:
        """Passages of a collection; 0 when nobody knows."""
        ...

    async def close(self) -> None:
        """Release its connections."""
        ...
