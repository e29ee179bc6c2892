"""What was removed, for as long as it can be brought back."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stenobus_contracts import KbDocument, KbSync

from .database import explained, open_reader

#: Documents that one order brings back: many fit into an event.
AT_ONCE = 200
_FIND = """
SELECT sync, at, collection, source, document FROM removed AS last
WHERE at >= ? AND (? IS NULL OR collection = ?) AND id = (
    SELECT max(id) FROM removed WHERE removed.collection = last.collection AND removed.name = last.name
) AND NOT EXISTS (
    SELECT 1 FROM documents WHERE live AND documents.collection = last.collection AND documents.name = last.name
)
ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True)
class Removed:
    """A document that was removed, as it was last."""

    #: Number of the sync that removed it.
    run: int
    at: datetime
    collection: str
    source: str | None
    document: KbDocument


def removed(path: Path, days: float, collection: str | None = None) -> list[Removed]:
    """What was removed and is not there again, latest first.

    Args:
        path: the index.
        days: how far to look back.
        collection: one collection; all when None.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: the file is unreadable, damaged, foreign or of another schema.
    """
    since = int(time.time() - days * 86_400)
    rows: list[Any] = []
    with closing(open_reader(path)) as connection, explained(path):
        rows += connection.execute(_FIND, (since, collection, collection))
    return [
        Removed(run, datetime.fromtimestamp(at, UTC), place, source, KbDocument.model_validate(json.loads(document)))
        for run, at, place, source, document in rows
    ]


def orders(wanted: Sequence[Removed]) -> list[KbSync]:
    """Events that bring documents back, in every index that hears them."""
    places: dict[tuple[str, str | None], list[KbDocument]] = {}
    for each in wanted:
        places.setdefault((each.collection, each.source), []).append(each.document)
    return [
        KbSync(collection=collection, source=source, upsert=tuple(documents[start : start + AT_ONCE]))
        for (collection, source), documents in places.items()
        for start in range(0, len(documents), AT_ONCE)
    ]
