"""The local index: documents and their chunks, replaced version by version and found by words."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from stenobus_contracts import KbDocument

from . import chunk
from .chunk import Chunk
from .database import explained, open_writer
from .text import clean, cut

Outcome = Literal["added", "updated", "unchanged"]


class Index:
    """Writes the index. Safe to use from several threads, and beside other processes.

    Raises:
        IndexUnusable: from every method, when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_writer(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    def outdated(self, collection: str, documents: Iterable[KbDocument]) -> list[KbDocument]:
        """Those of the documents that the index does not hold in this very version."""
        with self._lock, explained(self.path):
            return [
                document
                for document in documents
                if self._fingerprint(collection, document.id) != _fingerprint(document)
            ]

    def put(self, collection: str, document: KbDocument, chunks: Sequence[Chunk]) -> Outcome:
        """Add a document, or replace it: readers see the old version or the new one, whatever happens in between."""
        fingerprint, title = _fingerprint(document), clean(document.title)
        with self._lock, explained(self.path), self.connection:
            known = self._fingerprint(collection, document.id)
            if known == fingerprint:
                return "unchanged"
            [(row,)] = self.connection.execute(
                "INSERT INTO documents(collection, name, title, uri, metadata, fingerprint) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT(collection, name) DO UPDATE SET title = excluded.title, uri = excluded.uri,"
                " metadata = excluded.metadata, fingerprint = excluded.fingerprint RETURNING id",
                (collection, document.id, title, document.uri, json.dumps(document.metadata), fingerprint),
            )
            self.connection.execute("DELETE FROM chunks WHERE document = ?", (row,))
            for position, part in enumerate(chunks):
                self.connection.execute(
                    "INSERT INTO chunks(document, position, start, weight) VALUES (?, ?, ?, ?)",
                    (row, position, part.start, part.weight),
                )
                self.connection.execute(
                    "INSERT INTO passages(rowid, title, heading, body) VALUES (?, ?, ?, ?)",
                    (self.connection.last_insert_rowid(), cut(title), cut(" › ".join(part.headings)), cut(part.text)),
                )
        return "added" if known is None else "updated"

    def delete(self, collection: str, ids: Iterable[str]) -> int:
        """Remove documents; returns how many of them were there."""
        removed = 0
        with self._lock, explained(self.path), self.connection:
            for name in ids:
                self.connection.execute("DELETE FROM documents WHERE collection = ? AND name = ?", (collection, name))
                removed += self.connection.changes()
        return removed

    def size(self, collection: str) -> int:
        """Number of chunks in a collection."""
        with self._lock, explained(self.path):
            count: int = self.connection.execute(
                "SELECT count(*) FROM chunks JOIN documents ON documents.id = chunks.document WHERE collection = ?",
                (collection,),
            ).get
            return count

    def _fingerprint(self, collection: str, name: str) -> str | None:
        found: str | None = self.connection.execute(
            "SELECT fingerprint FROM documents WHERE collection = ? AND name = ?", (collection, name)
        ).get
        return found


def _fingerprint(document: KbDocument) -> str:
    """Equal exactly when indexing the document again would write the same."""
    parts = [chunk.VERSION, document.title, document.uri, document.metadata, document.content.sha256]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
