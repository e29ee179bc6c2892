"""The words leg: passages by BM25, from those that match strictly to those that match loosely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from .fusion import Candidate
from .query import expressions

# A word in the title counts four times, in a heading twice. One long document must not fill the list.
_RANKED = """
WITH matched AS MATERIALIZED (
    SELECT rowid AS chunk, -bm25(passages, 4.0, 2.0, 1.0) AS score FROM passages WHERE passages MATCH ?
), weighted AS (
    SELECT chunk, document, position, score * weight AS score,
        row_number() OVER (PARTITION BY document ORDER BY score * weight DESC, position) AS place
    FROM matched JOIN chunks ON chunks.id = chunk JOIN documents ON documents.id = document WHERE {condition}
)
SELECT chunk, document, score FROM weighted WHERE place <= ? ORDER BY score DESC, document, position LIMIT ?
"""


def matches(
    connection: apsw.Connection,
    text: str,
    condition: tuple[str, Sequence[Any]],
    most: int,
    per_document: int,
) -> list[Candidate]:
    """The best passages, best first. Looser expressions fill up what stricter ones leave open.

    Args:
        connection: the index.
        text: the question.
        condition: what holds for allowed ``documents``, and its parameters.
        most: number of passages.
        per_document: number of passages of one document that one expression may find.
    """
    found: dict[int, Candidate] = {}
    terms, given = condition
    for expression in expressions(text):
        ranked = connection.execute(_RANKED.format(condition=terms), (expression, *given, per_document, most))
        for chunk, document, score in ranked:
            found.setdefault(chunk, Candidate(chunk, document, score, expression))
        if len(found) >= most:
            break
    return list(found.values())[:most]
