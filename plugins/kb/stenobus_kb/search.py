"""Search over the local index: a typed query in, ranked passages out."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .database import explained, open_reader
from .filters import Filter, Value
from .query import expressions
from .text import uncut

#: One long document must not fill the page.
_PER_DOCUMENT: Final = 3
#: Hits a query can page through.
MAX_HITS: Final = 1_000
#: A word in the title counts four times, in a heading twice.
_RANKED = """
WITH matched AS MATERIALIZED (
    SELECT rowid AS chunk, -bm25(passages, 4.0, 2.0, 1.0) AS score FROM passages WHERE passages MATCH ?
), weighted AS (
    SELECT chunk, document, position, score * weight AS score,
        row_number() OVER (PARTITION BY document ORDER BY score * weight DESC, position) AS place
    FROM matched JOIN chunks ON chunks.id = chunk JOIN documents ON documents.id = document WHERE {condition}
)
SELECT chunk, score FROM weighted WHERE place <= ? ORDER BY score DESC, document, position LIMIT ?
"""
_SHOWN = """
SELECT name, collection, documents.title, uri, metadata, source, start, heading,
    snippet(passages, 2, char(2), char(3), '…', 32)
FROM passages JOIN chunks ON chunks.id = passages.rowid JOIN documents ON documents.id = document
WHERE passages MATCH ? AND passages.rowid = ?
"""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked.

    Args:
        text: any string; ``"quoted words"`` are a phrase.
        collections: documents of these collections only; all when None.
        principals: who asks: finds what is for everybody and what names one of these; None is the owner, who finds
            everything.
        metadata: fields that a document's metadata must have, with these values or with lists that hold them.
        sources: documents from these sources only; all when None.
        limit: most hits.
        offset: best hits to leave out, for the next page; with ``limit`` at most 1,000.
    """

    text: str
    collections: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    sources: tuple[str, ...] | None = None
    limit: int = 10
    offset: int = 0

    def __post_init__(self) -> None:
        if self.limit < 1 or self.offset < 0 or self.limit + self.offset > MAX_HITS:
            raise ValueError(f"limit is at least 1, offset at least 0, and both together at most {MAX_HITS}")

    @property
    def filter(self) -> Filter:
        """Which documents may be found."""
        return Filter(self.collections, self.principals, self.metadata, self.sources)


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
    source: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the hits, best first; at most three of one document."""

    hits: tuple[Hit, ...]
    #: Whether a larger offset finds more.
    more: bool


class Searcher:
    """An open index. Safe to use from several threads, which take turns; sees every sync at once, whole.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: from every method: the file is unreadable, damaged, foreign or of another schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_reader(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def search(self, query: Query) -> Page:
        """The best passages for a query."""
        page = Page((), more=False)
        with self._lock, explained(self.path), self._connection:
            condition, given = query.filter.condition()
            wanted = query.offset + query.limit
            for expression in expressions(query.text):
                ranked: list[Any] = self._connection.execute(
                    _RANKED.format(condition=condition), (expression, *given, _PER_DOCUMENT, wanted + 1)
                ).fetchall()
                if ranked:
                    shown = ranked[query.offset : wanted]
                    hits = tuple(self._hit(expression, chunk, score) for chunk, score in shown)
                    page = Page(hits, more=len(ranked) > wanted)
                    break
        return page

    def _hit(self, expression: str, chunk: int, score: float) -> Hit:
        [(name, collection, title, uri, metadata, source, start, heading, marked)] = self._connection.execute(
            _SHOWN, (expression, chunk)
        )
        snippet, highlights = _unmarked(marked)
        return Hit(
            document=name,
            collection=collection,
            title=title,
            heading=uncut(heading),
            snippet=snippet,
            highlights=highlights,
            score=round(score, 6),
            uri=uri,
            start=start,
            source=source,
            metadata=json.loads(metadata),
        )


def search(path: Path, query: Query) -> Page:
    """One query to an index that is opened for it. Raises as :class:`Searcher` does."""
    with closing(Searcher(path)) as searcher:
        return searcher.search(query)


def counts(path: Path) -> tuple[int, int]:
    """Number of documents and of chunks in the index. Raises as :func:`search` does."""
    with closing(open_reader(path)) as connection, explained(path):
        [(documents, chunks)] = connection.execute(
            "SELECT (SELECT count(*) FROM documents WHERE live),"
            " (SELECT count(*) FROM chunks JOIN documents ON documents.id = document WHERE live)"
        )
    return documents, chunks


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
