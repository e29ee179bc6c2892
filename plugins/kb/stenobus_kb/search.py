"""Full-text search over the local index."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from .database import explained, open_reader
from .query import expressions
from .text import uncut

#: A word in the title counts four times, in a heading twice.
_RANKED = """
WITH matched AS MATERIALIZED (
    SELECT rowid AS chunk, -bm25(passages, 4.0, 2.0, 1.0) AS score FROM passages WHERE passages MATCH :expression
), weighted AS (
    SELECT chunk, document, position, start, score * weight AS score,
        row_number() OVER (PARTITION BY document ORDER BY score * weight DESC, position) AS place
    FROM matched JOIN chunks ON chunks.id = chunk
)
SELECT chunk, name, collection, title, uri, start, score
FROM weighted JOIN documents ON documents.id = document
WHERE place <= :per_document AND (:collection IS NULL OR collection = :collection)
ORDER BY score DESC, document, position LIMIT :limit
"""
_SHOWN = """
SELECT heading, snippet(passages, 2, char(2), char(3), '…', 32) FROM passages
WHERE passages MATCH :expression AND rowid = :chunk
"""
#: One long document must not fill the page.
_PER_DOCUMENT = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers the query."""

    document: str
    collection: str
    title: str
    #: Heading path within the document, joined by " › "; empty for text before the first heading.
    heading: str
    snippet: str
    #: Start and end of each matched word in the snippet, in characters.
    highlights: tuple[tuple[int, int], ...]
    #: Higher is better; comparable within one answer only.
    score: float
    uri: str | None
    #: Where the recording says it, in seconds.
    start: float | None


def search(path: Path, query: str, *, collection: str | None = None, limit: int = 10) -> list[Hit]:
    """The best passages for a query, best first; at most three of one document.

    Args:
        path: the index.
        query: any string; ``"quoted words"`` are a phrase.
        collection: only documents of this collection.
        limit: most hits to return.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: the file is unreadable, damaged, foreign or of another schema.
    """
    with closing(open_reader(path)) as connection, explained(path), connection:
        for expression in expressions(query):
            if hits := _hits(connection, expression, collection, limit):
                return hits
    return []


def counts(path: Path) -> tuple[int, int]:
    """Number of documents and of chunks in the index. Raises as :func:`search` does."""
    with closing(open_reader(path)) as connection, explained(path):
        [(documents, chunks)] = connection.execute(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)"
        )
        return documents, chunks


def _hits(connection: apsw.Connection, expression: str, collection: str | None, limit: int) -> list[Hit]:
    ranked: list[tuple[Any, ...]] = connection.execute(
        _RANKED, {"expression": expression, "collection": collection, "per_document": _PER_DOCUMENT, "limit": limit}
    ).fetchall()
    hits = []
    for chunk, name, found_in, title, uri, start, score in ranked:
        [(heading, marked)] = connection.execute(_SHOWN, {"expression": expression, "chunk": chunk})
        snippet, highlights = _unmarked(marked)
        hits.append(Hit(name, found_in, title, uncut(heading), snippet, highlights, round(score, 6), uri, start))
    return hits


def _unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A snippet on one line, and where its highlights are."""
    text = ""
    highlights = []
    for piece in " ".join(uncut(marked).split()).split("\x03"):
        before, _, word = piece.partition("\x02")
        text += before
        if word:
            highlights.append((len(text), len(text) + len(word)))
        text += word
    return text, tuple(highlights)
