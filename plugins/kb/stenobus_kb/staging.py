"""Versions of documents beside those that are found. Every function works inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable

import apsw

from .order import Order
from .prepared import Prepared, fingerprint
from .text import clean, cut


def sync_of(connection: apsw.Connection, order: Order) -> int | None:
    """Number of the sync that carries out the order; None when it has not begun."""
    found: int | None = connection.execute("SELECT id FROM syncs WHERE event = ?", (order.event,)).get
    return found


def begun(connection: apsw.Connection, order: Order) -> int:
    """Number of the sync that carries out the order, from now on if need be."""
    sync = sync_of(connection, order)
    if sync is None:
        connection.execute("INSERT INTO syncs(event, collection) VALUES (?, ?)", (order.event, order.collection))
        sync = connection.last_insert_rowid()
    return sync


def live(connection: apsw.Connection, collection: str, name: str) -> str | None:
    """Fingerprint of the version that is found."""
    found: str | None = connection.execute(
        "SELECT fingerprint FROM documents WHERE collection = ? AND name = ? AND live", (collection, name)
    ).get
    return found


def staged(connection: apsw.Connection, sync: int | None, name: str) -> str | None:
    """Fingerprint of the version that the sync has staged."""
    found: str | None = connection.execute(
        "SELECT fingerprint FROM documents WHERE sync = ? AND name = ? AND born IS NULL", (sync, name)
    ).get
    return found


def unstage(connection: apsw.Connection, sync: int | None, name: str) -> None:
    """Remove the version that the sync has staged."""
    connection.execute("DELETE FROM documents WHERE sync = ? AND name = ? AND born IS NULL", (sync, name))


def stage(connection: apsw.Connection, order: Order, documents: Iterable[Prepared]) -> None:
    """Write versions; of two of one document the last one counts."""
    sync = begun(connection, order)
    versions = list({prepared.document.id: prepared for prepared in documents}.values())
    for prepared in versions:
        # A DELETE begins a savepoint, at which FTS5 writes out what it has gathered, even if nothing is deleted.
        if staged(connection, sync, prepared.document.id) is not None:
            unstage(connection, sync, prepared.document.id)
    row: int = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'documents'").get
    first: int = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM chunks").get
    numbered = list(enumerate(versions, row))
    connection.executemany(
        "INSERT INTO documents(id, collection, name, source, dataset, title, uri, metadata, principals, content,"
        " fingerprint, sync) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                number,
                order.collection,
                document.id,
                order.source,
                order.dataset,
                clean(document.title),
                document.uri,
                json.dumps(document.metadata),
                json.dumps(document.principals),
                document.content.model_dump_json(exclude_none=True),
                fingerprint(document, order.source),
                sync,
            )
            for number, document in ((number, prepared.document) for number, prepared in numbered)
        ),
    )
    chunks = (
        (number, position, part.start, part.weight, known)
        for number, prepared in numbered
        for position, (part, (known, _)) in enumerate(zip(prepared.chunks, prepared.embedded, strict=True))
    )
    connection.executemany(
        "INSERT INTO chunks(id, document, position, start, weight, digest) VALUES (?, ?, ?, ?, ?, ?)",
        ((name, *each) for name, each in enumerate(chunks, first)),
    )
    passages = (texts for prepared in versions for texts in prepared.texts)
    connection.executemany(
        "INSERT INTO passages(rowid, title, heading, body) VALUES (?, ?, ?, ?)",
        ((name, *map(cut, texts)) for name, texts in enumerate(passages, first)),
    )
