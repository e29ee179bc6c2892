"""Which sentences say what a text is about: sparse TF-IDF, no matrix, no dependency."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from .language import Language

#: Letters of a word that count: enough of a stemmer for restart, restarted, restarting in any of the languages.
STEM = 6

Vector = dict[str, float]


class Vectors:
    """Unit TF-IDF vectors of texts, given as folded words."""

    def __init__(self, texts: Sequence[Sequence[str]], language: Language) -> None:
        counts = [Counter(stems(text, language)) for text in texts]
        frequency: Counter[str] = Counter(stem for count in counts for stem in count)
        self._vectors = [self._unit(count, frequency, len(texts)) for count in counts]

    @staticmethod
    def _unit(count: Counter[str], frequency: Counter[str], total: int) -> Vector:
        weights = {stem: n * math.log(1 + total / frequency[stem]) for stem, n in count.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {stem: weight / length for stem, weight in weights.items()} if length else {}

    def centrality(self) -> list[float]:
        """For each text its mean cosine similarity with all others, scaled so that the highest is 1.

        The sum of a vector's products with all vectors is its product with their sum, so this takes linear time.
        """
        total: defaultdict[str, float] = defaultdict(float)
        for vector in self._vectors:
            for stem, weight in vector.items():
                total[stem] += weight
        sums = [
            max(sum(weight * total[stem] for stem, weight in vector.items()) - 1, 0.0) if vector else 0.0
            for vector in self._vectors
        ]
        highest = max(sums, default=0.0)
        return [value / highest for value in sums] if highest else sums

    def similarity(self, one: int, other: int) -> float:
        """Cosine similarity of two texts, 0 to 1."""
        first, second = self._vectors[one], self._vectors[other]
        return sum(weight * second.get(stem, 0.0) for stem, weight in first.items())


def stems(text: Sequence[str], language: Language) -> list[str]:
    """The content words of a text, cut to their stems."""
    return [word[:STEM] for word in text if word not in language.stopwords]
