"""Search over the local index: a typed query in, ranked passages out."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from .database import explained, open_reader
from .errors import EmbedderRefused, EmbedderUnavailable
from .excerpt import excerpt
from .filters import Filter, Value
from .fusion import DEFAULT, Candidate, Fused, Leg, Place, Ranking, fused
from .generation import Generation, serving
from .lexical import matches
from .text import uncut

if TYPE_CHECKING:
    from .embedders import Embedder, Vectors
    from .matrix import Matrix

#: One long document must not fill the page.
_PER_DOCUMENT: Final = 3
#: Hits a query can page through.
MAX_HITS: Final = 1_000
_SHOWN = """
SELECT name, collection, documents.title, uri, metadata, source, start, heading
FROM passages JOIN chunks ON chunks.id = passages.rowid JOIN documents ON documents.id = document
WHERE passages.rowid = ?
"""
_MARKED = """
SELECT snippet(passages, 2, char(2), char(3), '…', 32) FROM passages WHERE passages MATCH ? AND rowid = ?
"""

Mode = Literal["hybrid", "words", "vectors"]


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
        mode: which legs are asked.
    """

    text: str
    collections: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    sources: tuple[str, ...] | None = None
    limit: int = 10
    offset: int = 0
    mode: Mode = "hybrid"

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
    #: Rank and score in each leg that found it.
    legs: Mapping[Leg, Place]

    @property
    def link(self) -> str | None:
        """The address, of a recording at the second; players jump there (W3C Media Fragments)."""
        if self.uri is None or self.start is None or "#" in self.uri:
            return self.uri
        return f"{self.uri}#t={int(self.start)}"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the hits, best first; at most three of one document."""

    hits: tuple[Hit, ...]
    #: Whether a larger offset finds more.
    more: bool
    #: Model of the vectors that were searched; None when only words were.
    model: str | None = None
    #: Why a leg that was asked for is missing, in one sentence.
    note: str | None = None


class _Question(NamedTuple):
    vector: Vectors
    generation: Generation


class Shared:
    """Vectors in memory, for all searchers of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._matrix: Matrix | None = None

    @property
    def matrix(self) -> Matrix:
        """The vectors; to be used while the lock is held."""
        if self._matrix is None:
            from .matrix import Matrix  # words alone need no numpy

            self._matrix = Matrix()
        return self._matrix


class Searcher:
    """An open index. Safe to use from several threads, which take turns; sees every sync at once, whole.

    Args:
        path: the index.
        embedder: makes a question's vector; None searches words alone.
        ranking: how words and vectors become one list.
        shared: the vectors of other searchers of this index; its own when None.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: from every method: the file is unreadable, damaged, foreign or of another schema.
    """

    def __init__(
        self,
        path: Path,
        embedder: Embedder | None = None,
        ranking: Ranking = DEFAULT,
        shared: Shared | None = None,
    ) -> None:
        self.path = path
        self._embedder, self._ranking = embedder, ranking
        self._connection = open_reader(path)
        self._lock = threading.Lock()
        self._shared = shared or Shared()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def search(self, query: Query) -> Page:
        """The best passages for a query.

        An embedder that does not answer leaves the words to be searched alone, and the page says so.
        """
        wanted = query.offset + query.limit
        with self._lock:
            question, note = self._question(query)
            found = None
            while found is None:
                with explained(self.path), self._connection:
                    found = self._found(query, question, wanted)
                    best = fused(found or {}, self._ranking, _PER_DOCUMENT, wanted + 1)
                    hits = tuple(self._hit(query, each) for each in best[query.offset : wanted])
        model = question.generation.model if question and "vectors" in found else None
        return Page(hits, more=len(best) > wanted, model=model, note=note)

    def _question(self, query: Query) -> tuple[_Question | None, str | None]:
        """The question's vector, or why there is none."""
        if query.mode == "words" or not query.text.strip():
            return None, None
        if self._embedder is None:
            return None, "No embedder is set up: only words were searched."
        with explained(self.path):
            generation = serving(self._connection)
        if generation is None:
            return None, "Nothing has been embedded yet: only words were searched."
        try:
            if (self._embedder.model, self._embedder.dimension) != generation[1:]:
                return None, (
                    f"The vectors are those of {generation.model} and {self._embedder.model} is set up: only words were"
                    " searched, until the kb plugin has embedded everything anew."
                )
            [vector] = self._embedder.embed([query.text], "query")
        except (EmbedderUnavailable, EmbedderRefused) as error:
            return None, f"Only words were searched: {error}"
        return _Question(vector, generation), None

    def _found(self, query: Query, question: _Question | None, wanted: int) -> dict[Leg, list[Candidate]] | None:
        """What each leg finds; None when the shared vectors are ahead of this transaction, which has to begin anew."""
        depth = max(self._ranking.depth, wanted + 1)
        found: dict[Leg, list[Candidate]] = {}
        if query.mode != "vectors":
            found["words"] = matches(self._connection, query.text, query.filter, depth, _PER_DOCUMENT)
        if question is not None:
            with self._shared.lock:
                matrix = self._shared.matrix
                if not matrix.follow(self._connection):
                    return None
                if matrix.generation == question.generation:  # it may have changed while the question was embedded
                    found["vectors"] = self._near(matrix, query, question.vector, depth)
        return found

    def _near(self, matrix: Matrix, query: Query, vector: Vectors, depth: int) -> list[Candidate]:
        allowed = query.filter.condition() if query.filter.restricts else None
        most, floor = depth * _PER_DOCUMENT, self._ranking.min_similarity
        taken: Counter[int] = Counter()
        found = []
        for chunk, document, score in matrix.nearest(vector, most, floor, allowed, self._connection):
            taken[document] += 1
            if taken[document] <= _PER_DOCUMENT:
                found.append(Candidate(chunk, document, score))
        return found[:depth]

    def _hit(self, query: Query, found: Fused) -> Hit:
        [(name, collection, title, uri, metadata, source, start, heading)] = self._connection.execute(
            _SHOWN, (found.chunk,)
        )
        snippet, highlights = self._snippet(query, found)
        return Hit(
            document=name,
            collection=collection,
            title=title,
            heading=uncut(heading),
            snippet=snippet,
            highlights=highlights,
            score=found.score,
            uri=uri,
            start=start,
            source=source,
            metadata=json.loads(metadata),
            legs=found.legs,
        )

    def _snippet(self, query: Query, found: Fused) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The part of the passage that answers best, and where the question's words are in it."""
        if found.expression is not None:
            return _unmarked(self._connection.execute(_MARKED, (found.expression, found.chunk)).get)
        body: str = self._connection.execute("SELECT body FROM passages WHERE rowid = ?", (found.chunk,)).get
        return excerpt(uncut(body), query.text)


def search(path: Path, query: Query, embedder: Embedder | None = None, ranking: Ranking = DEFAULT) -> Page:
    """One query to an index that is opened for it. Raises as :class:`Searcher` does."""
    with closing(Searcher(path, embedder, ranking)) as searcher:
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
