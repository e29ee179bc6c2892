"""Which model the vectors of an index were made with."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw


class Generation(NamedTuple):
    """What the vectors were made with."""

    id: int
    model: str
    dimension: int


def serving(connection: apsw.Connection) -> Generation | None:
    """The generation that is searched."""
    rows: list[Any] = connection.execute("SELECT id, model, dimension FROM generations WHERE serving").fetchall()
    return Generation(*rows[0]) if rows else None
