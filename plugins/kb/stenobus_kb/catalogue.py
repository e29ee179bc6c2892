"""What the index holds: its collections, and its documents page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .database import explained, open_reader
from .filters import Filter
from .text import uncut

_COLLECTIONS = """
SELECT collection, count(DISTINCT documents.id), count(chunks.id)
FROM documents LEFT JOIN chunks ON chunks.document = documents.id WHERE {condition}
GROUP BY collection ORDER BY collection
"""
_DOCUMENT = "SELECT collection, name, title, uri, source, dataset, metadata, id FROM documents WHERE {condition}"
_PAGE = _DOCUMENT + " AND (collection, name) > (?, ?) ORDER BY collection, name LIMIT ?"
_TEXT = """
SELECT heading, body, start FROM chunks JOIN passages ON passages.rowid = chunks.id WHERE document = ? ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, as far as the filter lets it be seen."""

    name: str
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document without its text."""

    collection: str
    id: str
    title: str
    uri: str | None
    source: str | None
    dataset: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document's text, as the index holds it."""

    heading: str
    text: str
    #: Where the recording says it, in seconds.
    start: float | None


def collections(path: Path, visible: Filter) -> list[Collection]:
    """The collections in alphabetical order, counted by what the filter lets through.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: the file is unreadable, damaged, foreign or of another schema.
    """
    condition, given = visible.condition()
    with closing(open_reader(path)) as connection, explained(path):
        rows = connection.execute(_COLLECTIONS.format(condition=condition), given)
        return [Collection(*row) for row in rows]


def documents(path: Path, visible: Filter, after: tuple[str, str] = ("", ""), limit: int = 50) -> list[Document]:
    """The next documents by collection and id. Raises as :func:`collections` does.

    Args:
        path: the index.
        visible: which documents.
        after: collection and id of the last one that was seen.
        limit: most documents.
    """
    condition, given = visible.condition()
    with closing(open_reader(path)) as connection, explained(path):
        rows = connection.execute(_PAGE.format(condition=condition), [*given, *after, limit])
        return [_document(row) for row in rows]


def document(path: Path, visible: Filter, collection: str, name: str) -> tuple[Document, list[Passage]] | None:
    """A document and its text; None when it is not there, or not to be seen. Raises as :func:`collections` does."""
    condition, given = visible.condition()
    parts: list[Any]
    with closing(open_reader(path)) as connection, explained(path), connection:
        asked = _DOCUMENT.format(condition=condition) + " AND collection = ? AND name = ?"
        row = next(iter(connection.execute(asked, [*given, collection, name])), None)
        parts = connection.execute(_TEXT, (row[-1],)).fetchall() if row else []
    if row is None:
        return None
    return _document(row), [Passage(uncut(heading), uncut(body), start) for heading, body, start in parts]


def _document(row: Any) -> Document:
    collection, name, title, uri, source, dataset, metadata, _ = row
    return Document(collection, name, title, uri, source, dataset, json.loads(metadata))
