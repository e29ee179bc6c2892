"""Ranked lists into one: weighted reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Leg = Literal["words", "vectors"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the legs become one list.

    Args:
        k: the larger, the less the first places count more than the later ones.
        depth: passages that each leg contributes.
        words: weight of the words leg.
        vectors: weight of the vectors leg.
        min_similarity: cosine below which a passage has nothing to do with the question.
    """

    k: float = 20.0
    depth: int = 100
    words: float = 1.0
    vectors: float = 1.0
    min_similarity: float = 0.05

    def weight(self, leg: Leg) -> float:
        """The weight of a leg."""
        return self.words if leg == "words" else self.vectors


DEFAULT: Final = Ranking()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage as one leg found it."""

    chunk: int
    document: int
    score: float
    #: The expression that it matches; None when the words did not find it.
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a leg ranked a passage, and its score there: BM25 or cosine, times the passage's weight."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Fused:
    """A passage in the one list."""

    chunk: int
    score: float
    legs: Mapping[Leg, Place]
    expression: str | None


def fused(found: Mapping[Leg, Sequence[Candidate]], ranking: Ranking, per_document: int, most: int) -> list[Fused]:
    """One list of the passages, best first; of one document at most so many as given.

    Equal scores keep the order of the first leg that has them.
    """
    scores: dict[int, float] = {}
    known: dict[int, Candidate] = {}
    for leg, candidates in found.items():
        weight = ranking.weight(leg)
        for rank, candidate in enumerate(candidates, 1):
            scores[candidate.chunk] = scores.get(candidate.chunk, 0.0) + weight / (ranking.k + rank)
            known.setdefault(candidate.chunk, candidate)
    best, taken = list[Candidate](), Counter[int]()
    for chunk in sorted(scores, key=scores.__getitem__, reverse=True):
        candidate = known[chunk]
        taken[candidate.document] += 1
        if taken[candidate.document] <= per_document:
            best.append(candidate)
            if len(best) == most:
                break
    places: dict[int, dict[Leg, Place]] = {candidate.chunk: {} for candidate in best}
    for leg, candidates in found.items():
        for rank, candidate in enumerate(candidates, 1):
            if candidate.chunk in places:
                places[candidate.chunk][leg] = Place(rank, round(candidate.score, 6))
    return [Fused(each.chunk, round(scores[each.chunk], 6), places[each.chunk], each.expression) for each in best]
