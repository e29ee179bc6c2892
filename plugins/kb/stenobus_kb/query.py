"""What people type into a search box, as FTS5 expressions. Any string is a valid query."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .text import clean, cut

#: More words make no better hits, and a pasted page must not become a query of a thousand terms.
MAX_TERMS = 32

_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')
_SEARCHABLE = ("L", "N", "Co", "So")


def expressions(query: str) -> Iterator[str]:
    """FTS5 expressions from strict to loose; the first one with hits is what was meant.

    All words; all words as beginnings; any word; any beginning. ``"quoted words"`` are a phrase. Nothing is yielded
    for a query without a letter, digit or symbol.
    """
    terms = _terms(query)
    if not terms:
        return
    yield " ".join(terms)
    yield " ".join(f"{term}*" for term in terms)
    if len(terms) > 1:
        yield " OR ".join(terms)
        yield " OR ".join(f"{term}*" for term in terms)


def _terms(query: str) -> list[str]:
    """Distinct FTS5 strings, which cannot hold an operator. A word of several parts, such as a path, is a phrase."""
    words = (quoted or word for quoted, word in _TERM.findall(clean(query)))
    terms = dict.fromkeys(f'"{cut(word)}"' for word in words if any(map(_searchable, word)))
    return list(terms)[:MAX_TERMS]


def _searchable(character: str) -> bool:
    return unicodedata.category(character).startswith(_SEARCHABLE)
