"""All vectors in memory, for exact search: follows the index revision by revision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import numpy as np
from numpy.typing import NDArray

from .generation import Generation, serving
from .rough import Rough, estimates, products, rounded

if TYPE_CHECKING:
    from .embedders import Vectors

#: Rows that are gone are dropped once they are this share.
_DEAD_SHARE = 0.25
#: Filters whose rows are remembered until the next revision.
_FILTERS_KEPT = 64
#: Rows that are read at once.
_AT_ONCE = 4_096
_COLUMNS = ("_vectors", "_codes", "_steps", "_chunks", "_documents", "_weights", "_alive")
#: Estimating a score takes this share of the time of computing one whose vector has to be fetched from afar.
_ESTIMATE = 1 / 16
#: Above this share, computing all scores is faster than fetching some vectors.
_MOST = 1 / 4
# In this order, whatever SQLite believes: what is new is little, and what is old lies as it was written.
_LOAD = """
SELECT chunks.id, document, weight, vector FROM documents CROSS JOIN chunks ON chunks.document = documents.id
CROSS JOIN vectors ON vectors.generation = ? AND vectors.digest = chunks.digest
WHERE live AND born > ?
"""
_ALLOWED = "SELECT id FROM documents WHERE {condition}"


class Neighbour(NamedTuple):
    """A passage near the question."""

    chunk: int
    document: int
    #: Cosine, times the passage's weight.
    score: float


class Matrix:
    """The vectors of all live chunks of the serving generation, as rows. Not safe to use from several threads."""

    def __init__(self) -> None:
        self.generation: Generation | None = None
        self._revision = -1
        self._used = 0
        self._empty(0)

    def __len__(self) -> int:
        return int(self._alive[: self._used].sum())

    def follow(self, connection: apsw.Connection) -> bool:
        """Come to the revision that the connection's transaction sees; False when it is a later one already."""
        rows: list[Any] = connection.execute("SELECT revision, floor FROM state").fetchall()
        [(revision, floor)] = rows
        if revision <= self._revision:
            return bool(revision == self._revision)
        generation = serving(connection)
        if generation != self.generation or self._revision < floor:
            self.generation, self._revision = generation, -1
            self._empty(generation.dimension if generation else 0)
        elif self._used:
            self._bury(connection)
        if generation is not None:
            if self._revision < 0:  # all at once: growing step by step would copy what is there
                self._reserve(connection.execute("SELECT count(*) FROM chunks").get)
            self._append(connection.execute(_LOAD, (generation.id, self._revision)))
        self._revision = revision
        self._filters.clear()
        return True

    def nearest(
        self,
        vector: Vectors,
        most: int,
        floor: float,
        allowed: tuple[str, Sequence[Any]] | None,
        connection: apsw.Connection,
    ) -> list[Neighbour]:
        """The best passages of exactly those that are allowed, best first.

        Args:
            vector: the question's, of length 1.
            most: number of passages.
            floor: cosine below which a passage has nothing to do with the question.
            allowed: condition over ``documents`` and its parameters; None allows all.
            connection: where the condition is looked up.
        """
        used = self._used
        places = np.flatnonzero(self._alive[:used]) if allowed is None else self._rows(allowed, connection)
        if not len(places):
            return []
        if len(places) > max(most, used * _ESTIMATE):
            places = self._promising(vector, most, floor, places)
        if len(places) > used * _MOST:
            scores = products(self._vectors[:used], vector)[places] * self._weights[places]
        else:
            scores = products(self._vectors[places], vector) * self._weights[places]
        best = np.argpartition(-scores, most)[:most] if most < len(scores) else np.arange(len(scores))
        best = best[scores[best] >= floor]
        best = best[np.lexsort((best, -scores[best]))]
        where = places[best]
        found = zip(self._chunks[where].tolist(), self._documents[where].tolist(), scores[best].tolist(), strict=True)
        return [Neighbour(*each) for each in found]

    def _promising(self, vector: Vectors, most: int, floor: float, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the places that hold the best for certain, by what their scores are at least and at most."""
        used = self._used
        guessed, error = estimates(Rough(self._codes[:used], self._steps[:used], self._longest, self._error), vector)
        guessed = (guessed * self._weights[:used])[places]  # a weight is at most 1
        least = np.partition(guessed, len(guessed) - most)[len(guessed) - most] - error
        promising: NDArray[np.intp] = places[guessed >= max(least, floor) - error]
        return promising

    def _rows(self, allowed: tuple[str, Sequence[Any]], connection: apsw.Connection) -> NDArray[np.intp]:
        condition, given = allowed
        key = json.dumps([condition, *given])
        if key not in self._filters:
            if len(self._filters) >= _FILTERS_KEPT:
                self._filters.clear()
            found = connection.execute(_ALLOWED.format(condition=condition), given)
            ids = np.array([row for (row,) in found], dtype=np.int64)
            self._filters[key] = np.flatnonzero(np.isin(self._documents[: self._used], ids) & self._alive[: self._used])
        return self._filters[key]

    def _bury(self, connection: apsw.Connection) -> None:
        gone = connection.execute("SELECT document FROM departures WHERE revision > ?", (self._revision,)).fetchall()
        if not gone:
            return
        used = self._used
        self._alive[:used] &= ~np.isin(self._documents[:used], np.array([row for (row,) in gone], dtype=np.int64))
        if np.count_nonzero(self._alive[:used]) < (1 - _DEAD_SHARE) * used:
            kept = np.flatnonzero(self._alive[:used])
            for name in _COLUMNS:
                setattr(self, name, getattr(self, name)[kept])
            self._used = len(kept)

    def _empty(self, dimension: int) -> None:
        self._used = 0
        self._vectors: NDArray[np.float32] = np.empty((0, dimension), dtype=np.float32)
        self._codes: NDArray[np.int8] = np.empty((0, dimension), dtype=np.int8)
        self._steps: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._longest = self._error = 0.0
        self._chunks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._documents: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._weights: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._alive: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._filters: dict[str, NDArray[np.intp]] = {}

    def _append(self, cursor: apsw.Cursor) -> None:
        dimension = self._vectors.shape[1]
        while rows := list(islice(cursor, _AT_ONCE)):
            self._reserve(self._used + len(rows))
            chunks, documents, weights, vectors = zip(*rows, strict=True)
            place = slice(self._used, self._used + len(rows))
            self._vectors[place] = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(rows), dimension)
            self._codes[place], self._steps[place], longest, error = rounded(self._vectors[place])
            self._longest, self._error = max(self._longest, longest), max(self._error, error)
            self._chunks[place], self._documents[place], self._weights[place] = chunks, documents, weights
            self._alive[place] = True
            self._used += len(rows)

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._chunks):
            return
        room = max(rows, len(self._chunks) * 3 // 2)
        for name in _COLUMNS:
            old = getattr(self, name)
            new = np.empty((room, *old.shape[1:]), dtype=old.dtype)
            new[: self._used] = old[: self._used]
            setattr(self, name, new)
