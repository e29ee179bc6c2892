"""Ordinary words: common English, and terms that many programs use. What is not among them may be anything.

The lists are data of this package: `monitor/make_vocabulary.py` makes `vocabulary.words.txt`, and `vocabulary.LICENSE`
says whose it is; `vocabulary.terms.txt` is written by hand.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

#: Letters of a word that says by itself that it is one: any two or three may be a word of some kind.
_LONG: Final = 4
#: In the list, behind words that programs write numbers behind.
_MARK: Final = "+"


@cache
def words() -> frozenset[str]:
    """All of them, in lower case."""
    return frozenset(word.removesuffix(_MARK) for word in _listed()) | _named()


@cache
def _numbered() -> frozenset[str]:
    return frozenset(word.removesuffix(_MARK) for word in _listed() if word.endswith(_MARK)) | _named()


def numbered(word: str) -> bool:
    """Whether programs write numbers behind it, as in ``python3``. People do so in passwords, with other words."""
    return word in _numbered()


@lru_cache(maxsize=50_000)
def known(word: str) -> bool:
    """Whether it is one; a single letter is, and so are two words written as one, as in ``datanode``."""
    return (
        len(word) == 1
        or word in words()
        or any(word[:at] in words() and word[at:] in words() for at in range(_LONG, len(word) - _LONG + 1))
    )


def telling(word: str) -> bool:
    """Whether a known word is one that hardly anything random would be."""
    return len(word) >= _LONG or word in _named()


@cache
def _listed() -> tuple[str, ...]:
    return _read("words")


@cache
def _named() -> frozenset[str]:
    return frozenset(_read("terms"))


def _read(part: str) -> tuple[str, ...]:
    return tuple(files(__package__).joinpath(f"vocabulary.{part}.txt").read_text(encoding="ascii").split())
