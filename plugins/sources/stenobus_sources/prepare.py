"""From what was read to what is to be sent: cleaned, checked, compared with what was sent before. Pure calculation."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from .catalogue import Origin, reason
from .kinds import Page
from .records import Record
from .state import ABSENCES, Known, Refused, State


@dataclass(slots=True)
class Prepared:
    """What a run makes of what it read."""

    #: New, or another one than was sent.
    changed: dict[str, Page] = field(default_factory=dict)
    unchanged: int = 0
    #: Every record that is there, as it was read.
    records: dict[str, Record] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    gone: int = 0
    #: A dataset of this run would differ from the one before.
    differs: bool = False


def prepare(
    origin: Origin,
    state: State,
    before: Mapping[str, Record],
    found: Mapping[str, Record],
    listing: Collection[str] | None,
    *,
    complete: bool,
) -> Prepared:
    """Compare what was read with what was sent before.

    A record that breaks its schema is not sent; what was sent of it earlier stays. One that a complete listing lacks
    is to be sent again should it come back, since its collection may have lost it by then; after :data:`ABSENCES` of
    them in a row datasets lack it, too.

    Args:
        before: every record that was there, as it was read.
        found: what was read now.
        listing: every id the source holds; None when nobody asked.
        complete: whether nothing is missing in it.
    """
    result = Prepared(records=dict(before), known=dict(state.known), refused=dict(state.refused))
    for name, record in found.items():
        _sort(result, origin, name, record)
    if listing is not None and complete:
        _count_absences(result, set(listing))
    result.differs = bool(result.changed or result.gone or result.refused != state.refused)
    return result


def _sort(result: Prepared, origin: Origin, name: str, record: Record) -> None:
    digest = origin.digest(record)
    result.records[name] = record
    known, refused = result.known.get(name), result.refused.get(name)
    if known is not None and known.digest == digest:
        result.unchanged += 1
        result.known[name] = known.model_copy(update={**_seen(record), "absent": 0})
        result.refused.pop(name, None)
        return
    if refused is not None and refused.digest == digest:
        result.refused[name] = refused.model_copy(update=_seen(record))
        return
    try:
        page = origin.shape(record)
    except ValidationError as error:
        result.refused[name] = Refused(digest=digest, reason=reason(error), **_seen(record))
        return
    result.refused.pop(name, None)
    result.changed[name] = page
    result.known[name] = Known(digest=digest, **_seen(record))


def _seen(record: Record) -> dict[str, Any]:
    return {"modified": record.modified, "version": record.version}


def _count_absences(result: Prepared, there: set[str]) -> None:
    for name, known in list(result.known.items()):
        if name in there:
            if known.absent:
                result.known[name] = known.model_copy(update={"absent": 0})
        elif known.absent + 1 >= ABSENCES:
            del result.known[name]
            result.records.pop(name, None)
            result.gone += 1
        else:
            result.known[name] = known.model_copy(update={"digest": "", "absent": known.absent + 1})
    for name in [name for name in result.refused if name not in there]:
        del result.refused[name]
        if name not in result.known:
            result.records.pop(name, None)


def document_id(source: str, name: str) -> str:
    """The id of a record's document: no other source has it."""
    whole = f"{source}/{name}"
    return whole if len(whole) <= 500 else f"{source}/{hashlib.sha256(name.encode()).hexdigest()}"


def cursor(state: State, latest: datetime | None) -> datetime | None:
    """The latest modification that was ever seen; it never goes back."""
    return max((one for one in (state.cursor, latest) if one is not None), default=None)
