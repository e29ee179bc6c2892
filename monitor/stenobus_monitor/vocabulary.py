"""Ordinary words: common English, and terms that many programs use. What is not among them may be anything.

The list is data of this package; `monitor/make_vocabulary.py` makes it, and `vocabulary.LICENSE` says whose it is.
"""

from __future__ import annotations

import lzma
from functools import cache
from importlib.resources import files
from typing import Final

#: Letters of a word that says by itself that it is one.
_LONG: Final = 4


@cache
def words() -> frozenset[str]:
    """All of them, in lower case."""
    packed = files(__package__).joinpath("vocabulary.txt.xz").read_bytes()
    return frozenset(lzma.decompress(packed).decode().split("\n")) | short()


@cache
def short() -> frozenset[str]:
    """Those of three letters that speak for themselves: they are all over paths, hosts, dates and logs."""
    return frozenset(files(__package__).joinpath("vocabulary.short.txt").read_text(encoding="ascii").split())


def known(word: str) -> bool:
    """Whether it is one; a single letter is."""
    return len(word) == 1 or word in words() or _compound(word)


def telling(word: str) -> bool:
    """Whether a known word is one that hardly anything random would be."""
    return len(word) >= _LONG or word in short()


def _compound(word: str) -> bool:
    """Two words written as one, as ``datanode``."""
    return any(word[:at] in words() and word[at:] in words() for at in range(_LONG, len(word) - _LONG + 1))
