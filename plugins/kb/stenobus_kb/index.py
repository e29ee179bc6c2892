"""The local index: versions of documents are staged beside those that are found, and take their place all at once."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw

from stenobus_contracts import KbDocument

from . import chunk
from .chunk import Chunk
from .database import explained, open_writer
from .errors import StagingLost
from .text import clean, cut, digest, uncut

Outcome = Literal["added", "updated", "unchanged"]

#: Unfinished syncs whose event is this many syncs behind have been given up: what they staged is removed.
ABANDONED_AFTER = 20
#: Revisions that a reader may be behind without reading everything anew.
REVISIONS_KEPT = 1_000
#: Finished syncs whose outcome is remembered, for events that are delivered again.
SYNCS_KEPT = 1_000
_SWEPT_AT_ONCE = 200
_UNEMBEDDED = """
SELECT DISTINCT digest, passages.title, heading, body FROM documents
JOIN chunks ON chunks.document = documents.id JOIN passages ON passages.rowid = chunks.id
WHERE {which} AND NOT EXISTS
    (SELECT 1 FROM vectors WHERE vectors.generation = :generation AND vectors.digest = chunks.digest)
LIMIT :most
"""


@dataclass(frozen=True)
class Prepared:
    """A document's version, ready to be staged."""

    document: KbDocument
    chunks: Sequence[Chunk]

    @cached_property
    def texts(self) -> list[tuple[str, str, str]]:
        """Title, heading path and text of every chunk: what is matched, shown and embedded."""
        title = clean(self.document.title)
        return [(title, " › ".join(part.headings), part.text) for part in self.chunks]

    @cached_property
    def embedded(self) -> list[tuple[bytes, str]]:
        """Digest and text of every chunk, as an embedder gets it."""
        return [(digest(*texts), _as_embedded(*texts)) for texts in self.texts]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync changed, in documents."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """A sync as its event has it.

    Args:
        event: id of the event; the same id goes on where an earlier attempt was broken off.
        collection: where the documents go.
        source: where they come from.
        dataset: version of what they were taken from.
        stored: when the server stored the event, in nanoseconds: the order of events.
    """

    event: str
    collection: str
    source: str | None = None
    dataset: str | None = None
    stored: int = 0


class Comparison(NamedTuple):
    """Documents of a sync beside what the index holds."""

    #: Neither live nor staged in this very version.
    outdated: list[KbDocument]
    #: Ids of those that an earlier attempt at the same event has staged.
    staged: set[str]
    #: Ids of those that are live as they should be.
    settled: set[str]


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
            sync = self._sync(order)
            for document in {document.id: document for document in documents}.values():
                wanted = _fingerprint(document, order.source)
                waiting = self._staged(sync, document.id)
                if self._live(order.collection, document.id) == wanted:
                    found.settled.add(document.id)
                    if waiting is not None:  # an earlier line had another version
                        self._unstage(sync, document.id)
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
        with self._lock, explained(self.path), self.connection:
            if generation is not None and vectors:
                self._keep(generation, vectors)
            self._stage(order, documents)

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
            unwanted = [name for name in delete if self._live(order.collection, name) is not None]
            if not staged and not unwanted:
                return Changes(unchanged=unchanged)  # an unchanged run writes nothing
            with self.connection:
                added, updated = self._flip(order, staged, unwanted)
                changes = Changes(added, updated, unchanged, len(unwanted))
                if complete:
                    self.connection.execute(
                        "UPDATE syncs SET changes = ? WHERE event = ?", (json.dumps(asdict(changes)), order.event)
                    )
            self._sweep()
            return changes

    def put(self, collection: str, document: KbDocument, chunks: Sequence[Chunk]) -> Outcome:
        """Add a document, or replace it: readers see the old version or the new one, whatever happens in between."""
        with self._lock, explained(self.path):
            known, wanted = self._live(collection, document.id), _fingerprint(document, None)
            if known == wanted:
                return "unchanged"
            order = Order(f"put:{wanted}:{time.time_ns()}", collection)
            with self.connection:
                self._stage(order, [Prepared(document, chunks)])
                self._flip(order, 1, [])
            self._sweep()
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
            find = "SELECT id FROM generations WHERE model = ? AND dimension = ?"
            found: int | None = self.connection.execute(find, (model, dimension)).get
            if found is None:
                with self.connection:
                    self.connection.execute(
                        "INSERT OR IGNORE INTO generations(model, dimension) VALUES (?, ?)", (model, dimension)
                    )
                    found = self.connection.execute(find, (model, dimension)).get
            assert found is not None
            return found

    def without_vector(self, generation: int, texts: Mapping[bytes, str]) -> dict[bytes, str]:
        """Those of the texts, by digest, that the generation has no vector of."""
        with self._lock, explained(self.path):
            find = "SELECT 1 FROM vectors WHERE generation = ? AND digest = ?"
            return {
                digest: text
                for digest, text in texts.items()
                if self.connection.execute(find, (generation, digest)).get is None
            }

    def unembedded(self, generation: int, most: int, order: Order | None = None) -> dict[bytes, str]:
        """Some of the live texts that the generation has no vector of; of those that a sync has staged, when given."""
        which = "live" if order is None else "sync = :sync AND born IS NULL"
        with self._lock, explained(self.path):
            found: list[Any] = self.connection.execute(
                _UNEMBEDDED.format(which=which),
                {"generation": generation, "most": most, "sync": self._sync(order) if order else None},
            ).fetchall()
        return {digest: _as_embedded(*map(uncut, texts)) for digest, *texts in found}

    def keep(self, generation: int, vectors: Mapping[bytes, bytes]) -> None:
        """Store vectors, float32, by their texts' digests."""
        with self._lock, explained(self.path), self.connection:
            self._keep(generation, vectors)

    def serve(self, generation: int) -> bool:
        """Let readers search a generation, and drop all others; does nothing and is False while vectors are missing."""
        with self._lock, explained(self.path), self.connection:
            missing = self.connection.execute(_UNEMBEDDED.format(which="live"), {"generation": generation, "most": 1})
            complete = not missing.fetchall()
            if (
                complete
                and not self.connection.execute("SELECT serving FROM generations WHERE id = ?", (generation,)).get
            ):
                self.connection.execute("UPDATE generations SET serving = id = ?", (generation,))
                self.connection.execute("DELETE FROM generations WHERE NOT serving")
                self.connection.execute("UPDATE state SET revision = revision + 1")
        return complete

    def _keep(self, generation: int, vectors: Mapping[bytes, bytes]) -> None:
        today = int(time.time()) // 86_400
        self.connection.executemany(
            "INSERT OR IGNORE INTO vectors(generation, digest, day, vector) VALUES (?, ?, ?, ?)",
            ((generation, digest, today, vector) for digest, vector in vectors.items()),
        )

    def _sync(self, order: Order) -> int | None:
        found: int | None = self.connection.execute("SELECT id FROM syncs WHERE event = ?", (order.event,)).get
        return found

    def _live(self, collection: str, name: str) -> str | None:
        found: str | None = self.connection.execute(
            "SELECT fingerprint FROM documents WHERE collection = ? AND name = ? AND live", (collection, name)
        ).get
        return found

    def _staged(self, sync: int | None, name: str) -> str | None:
        found: str | None = self.connection.execute(
            "SELECT fingerprint FROM documents WHERE sync = ? AND name = ? AND born IS NULL", (sync, name)
        ).get
        return found

    def _unstage(self, sync: int | None, name: str) -> None:
        self.connection.execute("DELETE FROM documents WHERE sync = ? AND name = ? AND born IS NULL", (sync, name))

    def _begun(self, order: Order) -> int:
        sync = self._sync(order)
        if sync is None:
            self.connection.execute(
                "INSERT INTO syncs(event, collection) VALUES (?, ?)", (order.event, order.collection)
            )
            sync = self.connection.last_insert_rowid()
        return sync

    def _stage(self, order: Order, documents: Iterable[Prepared]) -> None:
        sync = self._begun(order)
        versions = list({prepared.document.id: prepared for prepared in documents}.values())
        for prepared in versions:
            # A DELETE begins a savepoint, at which FTS5 writes out what it has gathered, even if nothing is deleted.
            if self._staged(sync, prepared.document.id) is not None:
                self._unstage(sync, prepared.document.id)
        row: int = self.connection.execute(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'documents'"
        ).get
        first: int = self.connection.execute("SELECT coalesce(max(id), 0) + 1 FROM chunks").get
        numbered = list(enumerate(versions, row))
        self.connection.executemany(
            "INSERT INTO documents(id, collection, name, source, dataset, title, uri, metadata, principals, content,"
            " fingerprint, sync) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    order.collection,
                    document.id,
                    order.source,
                    order.dataset,
                    clean(document.title),
                    document.uri,
                    json.dumps(document.metadata),
                    json.dumps(document.principals),
                    document.content.model_dump_json(exclude_none=True),
                    _fingerprint(document, order.source),
                    sync,
                )
                for number, document in ((number, prepared.document) for number, prepared in numbered)
            ),
        )
        chunks = (
            (number, position, part.start, part.weight, known)
            for number, prepared in numbered
            for position, (part, (known, _)) in enumerate(zip(prepared.chunks, prepared.embedded, strict=True))
        )
        self.connection.executemany(
            "INSERT INTO chunks(id, document, position, start, weight, digest) VALUES (?, ?, ?, ?, ?, ?)",
            ((name, *each) for name, each in enumerate(chunks, first)),
        )
        passages = (texts for prepared in versions for texts in prepared.texts)
        self.connection.executemany(
            "INSERT INTO passages(rowid, title, heading, body) VALUES (?, ?, ?, ?)",
            ((name, *map(cut, texts)) for name, texts in enumerate(passages, first)),
        )

    def _flip(self, order: Order, staged: int, unwanted: Sequence[str]) -> tuple[int, int]:
        """Returns how many documents are new, and how many replace one."""
        sync = self._begun(order)
        there: int = self.connection.execute(
            "SELECT count(*) FROM documents WHERE sync = ? AND born IS NULL", (sync,)
        ).get
        if there != staged:
            raise StagingLost(f"{staged - there} of {staged} documents must be staged again: they were given up.")
        revision: int = self.connection.execute("UPDATE state SET revision = revision + 1 RETURNING revision").get
        self.connection.execute(
            "INSERT INTO departures SELECT ?, old.id FROM documents AS new JOIN documents AS old"
            " ON old.collection = new.collection AND old.name = new.name AND old.live"
            " WHERE new.sync = ? AND new.born IS NULL",
            (revision, sync),
        )
        updated = self.connection.changes()
        for name in unwanted:
            self._remove(order.collection, name, sync, revision)
        self.connection.execute(
            "UPDATE documents SET live = 0 WHERE id IN (SELECT document FROM departures WHERE revision = ?)",
            (revision,),
        )
        self.connection.execute(
            "DELETE FROM absences WHERE collection = ? AND name IN"
            " (SELECT name FROM documents WHERE sync = ? AND born IS NULL)",
            (order.collection, sync),
        )
        self.connection.execute(
            "UPDATE documents SET live = 1, born = ? WHERE sync = ? AND born IS NULL", (revision, sync)
        )
        return staged - updated, updated

    def _remove(self, collection: str, name: str, sync: int, revision: int) -> None:
        [(row, source, title, uri, metadata, principals, content)] = self.connection.execute(
            "SELECT id, source, title, uri, metadata, principals, content FROM documents"
            " WHERE collection = ? AND name = ? AND live",
            (collection, name),
        )
        self.connection.execute("INSERT INTO departures VALUES (?, ?)", (revision, row))
        self.connection.execute("DELETE FROM absences WHERE collection = ? AND name = ?", (collection, name))
        if content is None:  # indexed by a release that did not keep where the text lies
            return
        document = {
            "id": name,
            "title": title,
            "content": json.loads(content),
            "uri": uri,
            "metadata": json.loads(metadata),
            "principals": json.loads(principals),
        }
        self.connection.execute(
            "INSERT INTO removed(sync, at, collection, source, name, document) VALUES (?, ?, ?, ?, ?, ?)",
            (sync, int(time.time()), collection, source, name, json.dumps(document)),
        )

    def _sweep(self) -> None:
        """Remove versions that nobody finds any more, a few at a time. Whoever is killed here has lost nothing."""
        with self.connection:
            self.connection.execute(
                "DELETE FROM documents WHERE born IS NULL AND sync IN (SELECT id FROM syncs WHERE changes IS NULL"
                " AND id <= (SELECT max(id) FROM syncs) - ?)",
                (ABANDONED_AFTER,),
            )
            self.connection.execute("DELETE FROM syncs WHERE id <= (SELECT max(id) FROM syncs) - ?", (SYNCS_KEPT,))
            self.connection.execute(
                "DELETE FROM departures WHERE revision <= (SELECT revision FROM state) - ?", (REVISIONS_KEPT,)
            )
            if self.connection.changes():
                self.connection.execute("UPDATE state SET floor = max(floor, revision - ?)", (REVISIONS_KEPT,))
        swept = _SWEPT_AT_ONCE
        while swept == _SWEPT_AT_ONCE:
            with self.connection:
                self.connection.execute(
                    "DELETE FROM documents WHERE id IN"
                    " (SELECT id FROM documents WHERE NOT live AND born IS NOT NULL LIMIT ?)",
                    (_SWEPT_AT_ONCE,),
                )
                swept = self.connection.changes()


def _as_embedded(title: str, heading: str, text: str) -> str:
    return "\n".join(part for part in (title, heading, text) if part)


def _fingerprint(document: KbDocument, source: str | None) -> str:
    """Equal exactly when indexing the document again would write the same."""
    parts = [
        chunk.VERSION,
        document.title,
        document.uri,
        document.metadata,
        document.content.sha256,
        sorted(document.principals),
        source,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
