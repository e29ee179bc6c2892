"""How much of a recording its statements cover, by ten minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field

from stenobus_contracts import Item, Model, Segment

from .text import clock

#: Length of one part, in seconds.
STEP = 600


class Part(Model):
    """Ten minutes of the recording."""

    start: str
    end: str
    seconds: int = Field(description="from the beginning of the recording to the part's")
    speech: int = Field(description="segments of speech")
    cited: int = Field(description="of these, segments that a statement cites")
    statements: int


def coverage(segments: Sequence[Segment], items: Iterable[Item]) -> Iterator[Part]:
    """Speech and statements by ten minutes; parts in which nobody speaks are left out."""
    part = {each.id: int(each.start // STEP) for each in segments if each.start is not None and each.kind == "speech"}
    listed = list(items)
    speech = Counter(part.values())
    told = Counter(part[each] for each in cited(listed) if each in part)
    statements = Counter(int(item.evidence.start // STEP) for item in listed if item.evidence.start is not None)
    for number in sorted(speech):
        yield Part(
            start=clock(number * STEP),
            end=clock((number + 1) * STEP),
            seconds=number * STEP,
            speech=speech[number],
            cited=told[number],
            statements=statements[number],
        )


def cited(items: Iterable[Item]) -> frozenset[str]:
    """Ids of the segments that the statements cite."""
    return frozenset(each for item in items for each in item.evidence.segments)
