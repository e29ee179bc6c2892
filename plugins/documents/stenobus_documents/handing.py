"""Hand a document on from stage to stage."""

from __future__ import annotations

from typing import TypeVar

from stenobus_contracts import DocumentEvent, Item, ProblemRow, StageUsage

from .text import clock

D = TypeVar("D", bound=DocumentEvent)


def advance(event: DocumentEvent, contract: type[D], usage: StageUsage, **fields: object) -> D:
    """The next stage's event: all that came in (fields nobody here knows too), the usage, and what is new."""
    return contract.model_validate({**dict(event), **fields, "stages": (*event.stages, usage)})


def item_line(item: Item, *, quote: bool = False) -> str:
    """How an item stands in a prompt: ``I012 command [00:01:23] text``."""
    time = "" if item.evidence.start is None else f" [{clock(item.evidence.start)}]"
    words = f" > {item.evidence.quote}" if quote else ""
    return f"{item.id} {item.kind}{time} {item.text}{words}"


def row_line(row: ProblemRow) -> str:
    """How a row stands in a prompt: ``I001: I002 I003 / - / I004 / I005``."""
    columns = (row.diagnosis, row.debugging, row.solution, row.prevention)
    return f"{row.problem}: {' / '.join(' '.join(column) or '-' for column in columns)}"


def counted(counts: dict[str, int], what: str, fate: str = "dropped") -> list[str]:
    """One sentence per reason: ``3 items dropped: its quote is not in the cited segments``."""
    return [
        f"{count} {what}{'' if count == 1 else 's'} {fate}: {reason}"
        for reason, count in sorted(counts.items())
        if count
    ]
