"""The vectors that are kept, by model and text. Every function works inside the caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import apsw

from .order import Order
from .prepared import as_embedded
from .staging import sync_of
from .text import uncut

# In this order, whatever SQLite believes: it would read every passage.
_UNEMBEDDED = """
SELECT DISTINCT digest, passages.title, heading, body FROM documents
CROSS JOIN chunks ON chunks.document = documents.id CROSS JOIN passages ON passages.rowid = chunks.id
WHERE {which} AND NOT EXISTS
    (SELECT 1 FROM vectors WHERE vectors.generation = :generation AND vectors.digest = chunks.digest)
LIMIT :most
"""


def generation_of(connection: apsw.Connection, model: str, dimension: int) -> int | None:
    """The generation of a model's vectors, if there is one."""
    found: int | None = connection.execute(
        "SELECT id FROM generations WHERE model = ? AND dimension = ?", (model, dimension)
    ).get
    return found


def begin(connection: apsw.Connection, model: str, dimension: int) -> None:
    """Make the generation of a model's vectors, if there is none."""
    connection.execute("INSERT OR IGNORE INTO generations(model, dimension) VALUES (?, ?)", (model, dimension))


def missing(connection: apsw.Connection, generation: int, texts: Mapping[bytes, str]) -> dict[bytes, str]:
    """Those of the texts, by digest, that the generation has no vector of."""
    find = "SELECT 1 FROM vectors WHERE generation = ? AND digest = ?"
    return {
        digest: text for digest, text in texts.items() if connection.execute(find, (generation, digest)).get is None
    }


def unembedded(connection: apsw.Connection, generation: int, most: int, order: Order | None) -> dict[bytes, str]:
    """Some of the live texts that the generation has no vector of; of those that a sync has staged, when given."""
    which = "live" if order is None else "sync = :sync AND born IS NULL"
    sync = sync_of(connection, order) if order else None
    found: list[Any] = connection.execute(
        _UNEMBEDDED.format(which=which), {"generation": generation, "most": most, "sync": sync}
    ).fetchall()
    return {digest: as_embedded(*map(uncut, texts)) for digest, *texts in found}


def keep(connection: apsw.Connection, generation: int, vectors: Mapping[bytes, bytes]) -> None:
    """Store vectors, float32, by their texts' digests."""
    today = int(time.time()) // 86_400
    connection.executemany(
        "INSERT OR IGNORE INTO vectors(generation, digest, day, vector) VALUES (?, ?, ?, ?)",
        ((generation, digest, today, vector) for digest, vector in vectors.items()),
    )


def serve(connection: apsw.Connection, generation: int) -> bool:
    """Let readers search a generation, and drop all others; does nothing and is False while vectors are missing."""
    if unembedded(connection, generation, 1, None):
        return False
    if not connection.execute("SELECT serving FROM generations WHERE id = ?", (generation,)).get:
        connection.execute("UPDATE generations SET serving = id = ?", (generation,))
        connection.execute("DELETE FROM generations WHERE NOT serving")
        connection.execute("UPDATE state SET revision = revision + 1")
    return True
