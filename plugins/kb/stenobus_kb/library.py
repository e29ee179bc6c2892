"""An index and its embedder: each text is embedded once per model, and another model takes over all at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .index import Index
from .order import Changes, Order
from .prepared import Prepared

if TYPE_CHECKING:
    from .embedders import Embedder

#: Texts per call of the embedder.
BATCH = 128


class Library:
    """Stages, embeds and flips. Every method blocks; safe to use from several threads.

    Args:
        index: where documents and vectors go.
        embedder: makes the vectors; None keeps words alone.

    Raises:
        EmbedderUnavailable, EmbedderRefused: from every method, as the embedder does.
        IndexUnusable: from every method, as the index does.
    """

    def __init__(self, index: Index, embedder: Embedder | None) -> None:
        self.index = index
        self._embedder = embedder
        self._lock = threading.Lock()
        self._generation: int | None = None

    def stage(self, order: Order, documents: Sequence[Prepared]) -> None:
        """Embed what has no vector yet, and write it with the versions."""
        if self._embedder is None:
            self.index.stage(order, documents)
            return
        texts = {digest: text for each in documents for digest, text in each.embedded}
        generation = self._known(self._embedder)
        vectors = _embedded(self._embedder, self.index.without_vector(generation, texts))
        self.index.stage(order, documents, generation, vectors)

    def flip(
        self, order: Order, staged: int, delete: Iterable[str] = (), *, unchanged: int = 0, complete: bool = True
    ) -> Changes:
        """As :meth:`Index.flip`, with a vector for everything that was staged, by whatever model it was staged."""
        if self._embedder is not None and staged:
            self._embed_missing(self._embedder, order)
        return self.index.flip(order, staged, delete, unchanged=unchanged, complete=complete)

    def catch_up(self, stop: threading.Event | None = None) -> int:
        """Embed what this model has not embedded yet, then let it serve. Returns the number of texts.

        Until then the generation before it serves. What has been embedded is kept, so a stop loses nothing.

        Args:
            stop: ends it early.
        """
        if self._embedder is None:
            return 0
        count = 0
        while True:
            count += self._embed_missing(self._embedder, None, stop)
            if (stop is not None and stop.is_set()) or self.index.serve(self._known(self._embedder)):
                return count

    def _known(self, embedder: Embedder) -> int:
        """Where the vectors of the model are kept; asks the model for its dimension when it is the first time."""
        with self._lock:
            if self._generation is None:
                self._generation = self.index.generation(embedder.model, embedder.dimension)
            return self._generation

    def _embed_missing(self, embedder: Embedder, order: Order | None, stop: threading.Event | None = None) -> int:
        count, generation = 0, self._known(embedder)
        while not (stop is not None and stop.is_set()):
            missing = self.index.unembedded(generation, BATCH, order)
            if not missing:
                break
            self.index.keep(generation, _embedded(embedder, missing))
            count += len(missing)
        return count


def _embedded(embedder: Embedder, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    digests = list(texts)
    for start in range(0, len(digests), BATCH):
        some = digests[start : start + BATCH]
        rows = embedder.embed([texts[digest] for digest in some]).astype("<f4")
        found |= {digest: row.tobytes() for digest, row in zip(some, rows, strict=True)}
    return found
