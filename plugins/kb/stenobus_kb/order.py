"""What a sync is told to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stenobus_contracts import KbDocument


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync changed, in documents."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """A sync as its event has it.

    Args:
        event: id of the event; the same id goes on where an earlier attempt was broken off.
        collection: where the documents go.
        source: where they come from.
        dataset: version of what they were taken from.
        stored: when the server stored the event, in nanoseconds: the order of events.
    """

    event: str
    collection: str
    source: str | None = None
    dataset: str | None = None
    stored: int = 0


class Comparison(NamedTuple):
    """Documents of a sync beside what the index holds."""

    #: Neither live nor staged in this very version.
    outdated: list[KbDocument]
    #: Ids of those that an earlier attempt at the same event has staged.
    staged: set[str]
    #: Ids of those that are live as they should be.
    settled: set[str]
