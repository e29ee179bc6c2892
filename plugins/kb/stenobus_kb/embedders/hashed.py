"""Hashed words, word stems and character n-grams: no model, no download, the same vector on every machine."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ..words import STOP_WORDS, stem, words

if TYPE_CHECKING:
    from . import Role, Vectors

#: Part of the model's name: raise it when the same text yields another vector.
VERSION: Final = 1
#: Weights of a word as it stands, of its stem, and of all its n-grams together.
_WORD, _STEM, _NGRAMS = 0.5, 0.5, 1.4
_SIZES: Final = (3, 4)
#: Letters of a word that are looked at: a pasted key must not cost more than a sentence.
_LONGEST: Final = 64


class HashedEmbedder:
    """Feature hashing (Weinberger et al., 2009) over words of Spanish, Portuguese and English.

    Inflections share their stem, and compounds, typing errors and sister languages share n-grams.

    Args:
        dimension: numbers per vector. More tell more words apart and cost more memory and time.
    """

    def __init__(self, dimension: int = 384) -> None:
        self.dimension = dimension
        self.model = f"stenobus/hashed-{VERSION}"
        self._features = lru_cache(maxsize=100_000)(self._features_of)

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """One row per text; a text of nothing but stop words counts them."""
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            counted = Counter(words(text))
            telling = {word: count for word, count in counted.items() if word not in STOP_WORDS} or counted
            if not telling:
                continue
            features = [self._features(word[:_LONGEST]) for word in telling]
            # A word said four times tells twice as much, not four times.
            scale = np.repeat(np.sqrt(list(telling.values())), [len(places) for places, _ in features])
            found[row] = np.bincount(
                np.concatenate([places for places, _ in features]),
                np.concatenate([values for _, values in features]) * scale,
                self.dimension,
            )
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found /= np.where(lengths > 0, lengths, 1)
        return found

    def _features_of(self, word: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Where a word counts, and how much."""
        named = [("w" + word, _WORD), ("s" + stem(word), _STEM)]
        ngrams = list(_ngrams(f"<{word}>"))
        named += [("g" + ngram, _NGRAMS / len(ngrams) ** 0.5) for ngram in ngrams]
        hashes = [zlib.crc32(name.encode()) for name, _ in named]
        # The highest bit is the sign: features that meet in one place cancel as often as they add up.
        signs = [1.0 if value >> 31 else -1.0 for value in hashes]
        return (
            np.array([value % self.dimension for value in hashes], dtype=np.intp),
            np.array([weight * sign for (_, weight), sign in zip(named, signs, strict=True)]),
        )


def _ngrams(word: str) -> Iterator[str]:
    return (word[start : start + size] for size in _SIZES for start in range(len(word) - size + 1))
