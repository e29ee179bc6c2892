"""Which documents a query may find, as a condition that holds inside the search."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

#: What a document's metadata can be compared with.
Value = str | int | float | bool

_PRINCIPALS = (
    "(documents.principals = '[]' OR EXISTS (SELECT 1 FROM json_each(documents.principals) AS holder"
    " WHERE holder.value IN (SELECT value FROM json_each(?))))"
)
# A list in the metadata matches by each of its items.
_METADATA = (
    "EXISTS (SELECT 1 FROM json_each(documents.metadata) AS field WHERE field.key = ? AND (field.atom = ?"
    " OR field.type = 'array' AND EXISTS (SELECT 1 FROM json_each(field.value) AS item WHERE item.atom = ?)))"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Restrictions that all have to hold.

    Args:
        collections: one of these; all when None, and none at all when empty.
        principals: who asks: finds what is for everybody, and what names one of these. None is the owner, who finds
            everything.
        metadata: these fields of a document's metadata have these values, or are lists that hold them.
        sources: one of these.
    """

    collections: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    sources: tuple[str, ...] | None = None

    @property
    def restricts(self) -> bool:
        """Whether it leaves anything out."""
        return self != Filter()

    def condition(self) -> tuple[str, list[Any]]:
        """SQL over ``documents``, and its parameters."""
        terms = ["documents.live"]
        given: list[Any] = []
        if self.collections is not None:
            terms.append("documents.collection IN (SELECT value FROM json_each(?))")
            given.append(json.dumps(self.collections))
        if self.sources is not None:
            terms.append("documents.source IN (SELECT value FROM json_each(?))")
            given.append(json.dumps(self.sources))
        if self.principals is not None:
            terms.append(_PRINCIPALS)
            given.append(json.dumps(self.principals))
        for key, value in self.metadata.items():
            terms.append(_METADATA)
            given += [key, value, value]
        return " AND ".join(terms), given


def field_of(text: str) -> tuple[str, Value]:
    """A metadata field written as ``KEY=VALUE``: numbers, true and false are what they are in JSON, all else is text.

    Raises:
        ValueError: it is not written so.
    """
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"{text} is not KEY=VALUE.")
    if value in {"true", "false"}:
        return key, value == "true"
    for number in (int, float):
        with suppress(ValueError):
            if math.isfinite(found := number(value)):
                return key, found
    return key, value
