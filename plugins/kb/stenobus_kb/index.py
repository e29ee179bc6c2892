"""The local index: versions of documents are staged beside those that are found, and take their place all at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import apsw

from stenobus_contracts import KbDocument

from . import revision, staging
from . import vectors as kept
from .chunk import Chunk
from .database import explained, open_writer
from .order import Changes, Comparison, Order
from .prepared import Prepared, fingerprint

Outcome = Literal["added", "updated", "unchanged"]


class Index:
    """Writes the index. Safe to use from several threads, and beside other processes.

    Raises:
        IndexUnusable: from every method, when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_writer(path)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    def outcome(self, order: Order) -> Changes | None:
        """What the order changed, when it has been carried out already."""
        with self._lock, explained(self.path):
            found = self.connection.execute("SELECT changes FROM syncs WHERE event = ?", (order.event,)).get
            return Changes(**json.loads(found)) if found else None

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """A transaction of one's own."""
        with self._lock, explained(self.path), self.connection:
            yield self.connection

    def heard(self, order: Order) -> None:
        """Note that a source's sync was carried out: listings from before it are outdated."""
        if order.source is not None:
            with self.writing() as connection:
                connection.execute(
                    "INSERT INTO heard VALUES (?, ?, ?) ON CONFLICT(collection, source) DO UPDATE"
                    " SET stored = max(stored, excluded.stored)",
                    (order.collection, order.source, order.stored),
                )

    def forget(self, days: float) -> None:
        """Let go of what was removed so long ago, and of vectors that no text has needed since."""
        now = int(time.time())
        with self.writing() as connection:
            connection.execute("DELETE FROM removed WHERE at < ?", (now - int(days * 86_400),))
            connection.execute(
                "DELETE FROM vectors WHERE day < ? AND digest NOT IN (SELECT digest FROM chunks)",
                (now // 86_400 - int(days),),
            )

    def compare(self, order: Order, documents: Iterable[KbDocument]) -> Comparison:
        """Which of the documents have to be staged. Of documents with one id, the last one that is compared counts."""
        found = Comparison([], set(), set())
        with self._lock, explained(self.path):
            sync = staging.sync_of(self.connection, order)
            for document in {document.id: document for document in documents}.values():
                wanted = fingerprint(document, order.source)
                waiting = staging.staged(self.connection, sync, document.id)
                if staging.live(self.connection, order.collection, document.id) == wanted:
                    found.settled.add(document.id)
                    if waiting is not None:  # an earlier line had another version
                        staging.unstage(self.connection, sync, document.id)
                elif waiting == wanted:
                    found.staged.add(document.id)
                else:
                    found.outdated.append(document)
        return found

    def stage(
        self,
        order: Order,
        documents: Iterable[Prepared],
        generation: int | None = None,
        vectors: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Write versions that nobody finds before :meth:`flip`.

        Args:
            order: the sync.
            documents: the versions.
            generation: that of the vectors.
            vectors: those of texts that had none, float32, by the text's digest.
        """
        with self.writing() as connection:
            if generation is not None and vectors:
                kept.keep(connection, generation, vectors)
            staging.stage(connection, order, documents)

    def flip(
        self, order: Order, staged: int, delete: Iterable[str] = (), *, unchanged: int = 0, complete: bool = True
    ) -> Changes:
        """Let all staged versions take the place of the old ones and remove documents, in one transaction.

        Args:
            order: the sync.
            staged: number of documents that have been staged for it.
            delete: ids to remove; they are kept for ``stenobus kb restore``.
            unchanged: number of documents that were live already, to be told with the rest.
            complete: remember the order as carried out; otherwise the same event works again.

        Raises:
            StagingLost: something that had been staged is not there any more.
        """
        with self._lock, explained(self.path):
            unwanted = [name for name in delete if staging.live(self.connection, order.collection, name) is not None]
            if not staged and not unwanted:
                return Changes(unchanged=unchanged)  # an unchanged run writes nothing
            with self.connection:
                added, updated = revision.flip(self.connection, order, staged, unwanted)
                changes = Changes(added, updated, unchanged, len(unwanted))
                if complete:
                    self.connection.execute(
                        "UPDATE syncs SET changes = ? WHERE event = ?", (json.dumps(asdict(changes)), order.event)
                    )
            revision.sweep(self.connection)
            return changes

    def put(self, collection: str, document: KbDocument, chunks: Sequence[Chunk]) -> Outcome:
        """Add a document, or replace it: readers see the old version or the new one, whatever happens in between."""
        with self._lock, explained(self.path):
            known, wanted = staging.live(self.connection, collection, document.id), fingerprint(document, None)
            if known == wanted:
                return "unchanged"
            order = Order(f"put:{wanted}:{time.time_ns()}", collection)
            with self.connection:
                staging.stage(self.connection, order, [Prepared(document, chunks)])
                revision.flip(self.connection, order, 1, [])
            revision.sweep(self.connection)
        return "added" if known is None else "updated"

    def delete(self, collection: str, ids: Iterable[str]) -> int:
        """Remove documents; returns how many of them were there."""
        return self.flip(Order(f"delete:{time.time_ns()}", collection), 0, ids).deleted

    def size(self, collection: str) -> int:
        """Number of chunks in a collection."""
        with self._lock, explained(self.path):
            count: int = self.connection.execute(
                "SELECT count(*) FROM chunks JOIN documents ON documents.id = chunks.document"
                " WHERE collection = ? AND live",
                (collection,),
            ).get
            return count

    def generation(self, model: str, dimension: int) -> int:
        """The generation of a model's vectors; made when there is none."""
        with self._lock, explained(self.path):
            found = kept.generation_of(self.connection, model, dimension)
            if found is None:
                with self.connection:
                    kept.begin(self.connection, model, dimension)
                    found = kept.generation_of(self.connection, model, dimension)
            assert found is not None
            return found

    def without_vector(self, generation: int, texts: Mapping[bytes, str]) -> dict[bytes, str]:
        """Those of the texts, by digest, that the generation has no vector of."""
        with self._lock, explained(self.path):
            return kept.missing(self.connection, generation, texts)

    def unembedded(self, generation: int, most: int, order: Order | None = None) -> dict[bytes, str]:
        """Some of the live texts that the generation has no vector of; of those that a sync has staged, when given."""
        with self._lock, explained(self.path):
            return kept.unembedded(self.connection, generation, most, order)

    def keep(self, generation: int, vectors: Mapping[bytes, bytes]) -> None:
        """Store vectors, float32, by their texts' digests."""
        with self.writing() as connection:
            kept.keep(connection, generation, vectors)

    def serve(self, generation: int) -> bool:
        """Let readers search a generation, and drop all others; does nothing and is False while vectors are missing."""
        with self.writing() as connection:
            return kept.serve(connection, generation)
