"""What people type into a search box, as FTS5 expressions. Any string is a valid query."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .text import clean, cut
from .words import STOP_WORDS, fold, stem

#: More words make no better hits, and a pasted page must not become a query of a thousand terms.
MAX_TERMS = 32

_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')
_SEARCHABLE = ("L", "N", "Co", "So")


def expressions(query: str) -> Iterator[str]:
    """FTS5 expressions from strict to loose; what the first ones find is what was meant most likely.

    All words; all words as beginnings; all telling words by their stems; any word; any stem. ``"quoted words"`` are a
    phrase. Nothing is yielded for a query without a letter, digit or symbol.
    """
    terms = _terms(query)
    if not terms:
        return
    telling = [term for term in terms if fold(term.strip('"')) not in STOP_WORDS] or terms
    stems = list(dict.fromkeys(map(_stemmed, telling)))
    yield from dict.fromkeys(
        [
            " ".join(terms),
            " ".join(f"{term}*" for term in terms),
            " ".join(stems),
            " OR ".join(telling),
            " OR ".join(stems),
        ]
    )


def _stemmed(term: str) -> str:
    """The beginning that a word's inflections share; of anything else the term itself."""
    word = fold(term.strip('"'))
    return f'"{stem(word)}"*' if word.isalpha() else f"{term}*"


def _terms(query: str) -> list[str]:
    """Distinct FTS5 strings, which cannot hold an operator. A word of several parts, such as a path, is a phrase."""
    words = (quoted or word for quoted, word in _TERM.findall(clean(query)))
    terms = dict.fromkeys(f'"{cut(word)}"' for word in words if any(map(_searchable, word)))
    return list(terms)[:MAX_TERMS]


def _searchable(character: str) -> bool:
    return unicodedata.category(character).startswith(_SEARCHABLE)
