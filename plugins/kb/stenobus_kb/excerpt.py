"""The part of a passage that is shown where no expression of the index found it."""

from __future__ import annotations

import re

from .words import STOP_WORDS, fold, stem, words

#: Words shown, and how many of them come before the first one that the question has as well.
_SHOWN, _BEFORE = 32, 8
_WORD = re.compile(r"\w+")


def excerpt(body: str, question: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Some words of a text on one line, and where those of the question are in it, in whatever inflection."""
    text = " ".join(body.split())
    found = list(_WORD.finditer(text))
    wanted = {stem(word) for word in words(question) if word not in STOP_WORDS}
    known = [number for number, word in enumerate(found) if stem(fold(word[0])) in wanted]
    first = max(0, known[0] - _BEFORE) if known else 0
    last = min(len(found), first + _SHOWN)
    start = found[first].start() if first else 0
    end = found[last - 1].end() if last < len(found) else len(text)
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    marks = tuple((found[n].start() + shift, found[n].end() + shift) for n in known if first <= n < last)
    return before + text[start:end] + after, marks
