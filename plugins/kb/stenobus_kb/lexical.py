"""The words leg: passages by BM25, from those that match strictly to those that match loosely."""

from __future__ import annotations

from collections import Counter
from typing import Any

import apsw

from .filters import Filter
from .fusion import Candidate
from .query import expressions

# A word in the title counts four times, in a heading twice. One long document must not fill the list.
_ALL = """
WITH matched AS MATERIALIZED (
    SELECT rowid AS chunk, -bm25(passages, 4.0, 2.0, 1.0) AS score FROM passages WHERE passages MATCH ?
), weighted AS (
    SELECT chunk, document, position, score * weight AS score,
        row_number() OVER (PARTITION BY document ORDER BY score * weight DESC, position) AS place
    FROM matched JOIN chunks ON chunks.id = chunk JOIN documents ON documents.id = document WHERE {condition}
)
SELECT chunk, document, score FROM weighted WHERE place <= ? ORDER BY score DESC, document, position LIMIT ?
"""
_BEST = """
WITH matched AS MATERIALIZED (
    SELECT rowid AS chunk, -bm25(passages, 4.0, 2.0, 1.0) AS score FROM passages WHERE passages MATCH ?
    ORDER BY score DESC LIMIT ?
)
SELECT chunk, document, score * weight, score, live FROM matched
JOIN chunks ON chunks.id = chunk JOIN documents ON documents.id = document
ORDER BY score * weight DESC, document, position
"""
#: Matches that are looked up for each passage that is wanted, before all are.
_MARGIN = 4


def matches(
    connection: apsw.Connection,
    text: str,
    restriction: Filter,
    most: int,
    per_document: int,
) -> list[Candidate]:
    """The best passages, best first. Looser expressions fill up what stricter ones leave open.

    Args:
        connection: the index.
        text: the question.
        restriction: which documents may be found.
        most: number of passages.
        per_document: number of passages of one document that one expression may find.
    """
    found: dict[int, Candidate] = {}
    for expression in expressions(text):
        ranked: list[Any] | None = None
        if not restriction.restricts:
            ranked = _of_the_best(connection, expression, most, per_document)
        if ranked is None:
            condition, given = restriction.condition()
            ranked = list(
                connection.execute(_ALL.format(condition=condition), (expression, *given, per_document, most))
            )
        for chunk, document, score in ranked:
            found.setdefault(chunk, Candidate(chunk, document, score, expression))
        if len(found) >= most:
            break
    return list(found.values())[:most]


def _of_the_best(connection: apsw.Connection, expression: str, most: int, per_document: int) -> list[Any] | None:
    """The same from the best matches alone, which spares looking up all others; None when those might count as well."""
    rows: list[Any] = connection.execute(_BEST, (expression, most * _MARGIN)).fetchall()
    taken: Counter[int] = Counter()
    ranked = []
    for chunk, document, score, _, live in rows:
        taken[document] += live
        if live and taken[document] <= per_document:
            ranked.append((chunk, document, score))
    # A weight is at most 1: what was not looked up scores at most what the worst of these scores without its weight.
    everything = len(rows) < most * _MARGIN
    beyond = min((score for *_, score, _ in rows), default=0.0)
    if everything or (len(ranked) >= most and ranked[most - 1][2] >= beyond):
        return ranked[:most]
    return None
