"""The tables of the index, and how a file of an earlier schema becomes one of this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw

from .text import digest, uncut

#: Raised with every change of the tables below.
SCHEMA_VERSION: Final = 2

# A row of `documents` is one version of a document. It is staged (born is null), then live, then gone: whatever a sync
# brings is staged row by row, and becomes live in one transaction, which takes the next revision.
_DOCUMENTS = """
CREATE TABLE {name}(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    source TEXT,
    dataset TEXT,
    title TEXT NOT NULL,
    uri TEXT,
    metadata TEXT NOT NULL,
    principals TEXT NOT NULL DEFAULT '[]',
    content TEXT,
    fingerprint TEXT NOT NULL,
    sync INTEGER,
    live INTEGER NOT NULL DEFAULT 0,
    born INTEGER
) STRICT;
"""
# `passages` holds the text once, for matching and for snippets; its rowid is the chunk's id. Symbols (So) are token
# characters so that emoji can be found.
_PASSAGES = """
CREATE TABLE chunks(
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    start REAL,
    weight REAL NOT NULL,
    digest BLOB NOT NULL DEFAULT x'',
    UNIQUE(document, position)
) STRICT;
CREATE VIRTUAL TABLE passages USING fts5(
    title, heading, body, tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co So'"
);
CREATE TRIGGER chunk_deleted AFTER DELETE ON chunks BEGIN
    DELETE FROM passages WHERE rowid = old.id;
END;
"""
# Readers in other processes follow the revisions: what was born after theirs comes, what departed goes. Before `floor`
# the departures are forgotten, and a reader begins anew.
_REST = """
CREATE UNIQUE INDEX live_documents ON documents(collection, name) WHERE live;
CREATE UNIQUE INDEX staged_documents ON documents(sync, name) WHERE born IS NULL;
CREATE INDEX born_documents ON documents(born);
CREATE INDEX gone_documents ON documents(id) WHERE NOT live AND born IS NOT NULL;
CREATE INDEX chunk_digests ON chunks(digest);
CREATE TABLE state(revision INTEGER NOT NULL, floor INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0, 0);
CREATE TABLE departures(revision INTEGER NOT NULL, document INTEGER NOT NULL) STRICT;
CREATE INDEX departure_revisions ON departures(revision);
CREATE TABLE syncs(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL,
    changes TEXT
) STRICT;
CREATE TABLE removed(
    id INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL,
    at INTEGER NOT NULL,
    collection TEXT NOT NULL,
    source TEXT,
    name TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX removed_at ON removed(at);
CREATE TABLE listings(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL UNIQUE,
    collection TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT;
CREATE TABLE heard(
    collection TEXT NOT NULL,
    source TEXT NOT NULL,
    stored INTEGER NOT NULL,
    PRIMARY KEY(collection, source)
) STRICT, WITHOUT ROWID;
CREATE TABLE absences(
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    listing INTEGER NOT NULL,
    PRIMARY KEY(collection, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE generations(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    serving INTEGER NOT NULL DEFAULT 0,
    UNIQUE(model, dimension)
) STRICT;
CREATE TABLE vectors(
    id INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL REFERENCES generations(id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    day INTEGER NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE(generation, digest)
) STRICT;
CREATE INDEX vector_days ON vectors(day, digest);
"""


def create(connection: apsw.Connection) -> None:
    """Make the tables in an empty file, inside the caller's transaction."""
    connection.execute(_DOCUMENTS.format(name="documents") + _PASSAGES + _REST)


def migrate(connection: apsw.Connection, version: int) -> None:
    """Bring the tables of an earlier schema up to this one, inside the caller's transaction."""
    for step in range(version, SCHEMA_VERSION):
        _MIGRATIONS[step](connection)


def _from_1(connection: apsw.Connection) -> None:
    """Every document is a live version. Where its text lies was not kept: restore cannot bring it back."""
    connection.create_scalar_function("digest_of", lambda *parts: digest(*map(uncut, parts)), 3, deterministic=True)
    connection.execute(_DOCUMENTS.format(name="versions"))
    connection.execute(
        "INSERT INTO versions(id, collection, name, title, uri, metadata, fingerprint, live, born)"
        " SELECT id, collection, name, title, uri, metadata, fingerprint, 1, 0 FROM documents;"
        "DROP TABLE documents;"
        "ALTER TABLE versions RENAME TO documents;"
        "ALTER TABLE chunks ADD COLUMN digest BLOB NOT NULL DEFAULT x'';"
        "UPDATE chunks SET digest ="
        " (SELECT digest_of(title, heading, body) FROM passages WHERE passages.rowid = chunks.id);"
    )
    connection.execute(_REST)


_MIGRATIONS: Final[dict[int, Callable[[apsw.Connection], None]]] = {1: _from_1}
#: Schemas that are brought up to this one.
KNOWN: Final = frozenset(_MIGRATIONS)
