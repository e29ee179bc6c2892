"""What is live, revision by revision: staged versions take the place of the old ones, which are swept away later."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import apsw

from .errors import StagingLost
from .order import Order
from .staging import begun

#: Unfinished syncs whose event is this many syncs behind have been given up: what they staged is removed.
ABANDONED_AFTER = 20
#: Revisions that a reader may be behind without reading everything anew.
REVISIONS_KEPT = 1_000
#: Finished syncs whose outcome is remembered, for events that are delivered again.
SYNCS_KEPT = 1_000
_SWEPT_AT_ONCE = 200


def flip(connection: apsw.Connection, order: Order, staged: int, unwanted: Sequence[str]) -> tuple[int, int]:
    """Make staged versions live and remove documents, inside the caller's transaction.

    Args:
        connection: the index.
        order: the sync.
        staged: number of documents that have been staged for it.
        unwanted: ids of live documents to remove.

    Returns:
        How many documents are new, and how many replace one.

    Raises:
        StagingLost: something that had been staged is not there any more.
    """
    sync = begun(connection, order)
    there: int = connection.execute("SELECT count(*) FROM documents WHERE sync = ? AND born IS NULL", (sync,)).get
    if there != staged:
        raise StagingLost(f"{staged - there} of {staged} documents must be staged again: they were given up.")
    revision: int = connection.execute("UPDATE state SET revision = revision + 1 RETURNING revision").get
    connection.execute(
        "INSERT INTO departures SELECT ?, old.id FROM documents AS new JOIN documents AS old"
        " ON old.collection = new.collection AND old.name = new.name AND old.live"
        " WHERE new.sync = ? AND new.born IS NULL",
        (revision, sync),
    )
    updated = connection.changes()
    for name in unwanted:
        _remove(connection, order.collection, name, sync, revision)
    connection.execute(
        "UPDATE documents SET live = 0 WHERE id IN (SELECT document FROM departures WHERE revision = ?)",
        (revision,),
    )
    connection.execute(
        "DELETE FROM absences WHERE collection = ? AND name IN"
        " (SELECT name FROM documents WHERE sync = ? AND born IS NULL)",
        (order.collection, sync),
    )
    connection.execute("UPDATE documents SET live = 1, born = ? WHERE sync = ? AND born IS NULL", (revision, sync))
    return staged - updated, updated


def _remove(connection: apsw.Connection, collection: str, name: str, sync: int, revision: int) -> None:
    [(row, source, title, uri, metadata, principals, content)] = connection.execute(
        "SELECT id, source, title, uri, metadata, principals, content FROM documents"
        " WHERE collection = ? AND name = ? AND live",
        (collection, name),
    )
    connection.execute("INSERT INTO departures VALUES (?, ?)", (revision, row))
    connection.execute("DELETE FROM absences WHERE collection = ? AND name = ?", (collection, name))
    if content is None:  # indexed by a release that did not keep where the text lies
        return
    document = {
        "id": name,
        "title": title,
        "content": json.loads(content),
        "uri": uri,
        "metadata": json.loads(metadata),
        "principals": json.loads(principals),
    }
    connection.execute(
        "INSERT INTO removed(sync, at, collection, source, name, document) VALUES (?, ?, ?, ?, ?, ?)",
        (sync, int(time.time()), collection, source, name, json.dumps(document)),
    )


def sweep(connection: apsw.Connection) -> None:
    """Remove versions that nobody finds any more, a few in each transaction. Who is killed here has lost nothing."""
    with connection:
        connection.execute(
            "DELETE FROM documents WHERE born IS NULL AND sync IN (SELECT id FROM syncs WHERE changes IS NULL"
            " AND id <= (SELECT max(id) FROM syncs) - ?)",
            (ABANDONED_AFTER,),
        )
        connection.execute("DELETE FROM syncs WHERE id <= (SELECT max(id) FROM syncs) - ?", (SYNCS_KEPT,))
        connection.execute(
            "DELETE FROM departures WHERE revision <= (SELECT revision FROM state) - ?", (REVISIONS_KEPT,)
        )
        if connection.changes():
            connection.execute("UPDATE state SET floor = max(floor, revision - ?)", (REVISIONS_KEPT,))
    swept = _SWEPT_AT_ONCE
    while swept == _SWEPT_AT_ONCE:
        with connection:
            connection.execute(
                "DELETE FROM documents WHERE id IN"
                " (SELECT id FROM documents INDEXED BY gone_documents WHERE NOT live AND born IS NOT NULL LIMIT ?)",
                (_SWEPT_AT_ONCE,),
            )
            swept = connection.changes()
