"""A sync shows nothing before it shows everything, and goes on where it was broken off."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from stenobus_kb import schema
from stenobus_kb.chunk import Chunk
from stenobus_kb.errors import IndexUnusable, StagingLost
from stenobus_kb.index import Index
from stenobus_kb.order import Changes, Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.revision import ABANDONED_AFTER

from .conftest import Put, document, search

#: The tables of schema 1, as its release made them, with a document in them.
SCHEMA_1 = """
PRAGMA application_id = 0x53544B42;
PRAGMA user_version = 1;
CREATE TABLE documents(
    id INTEGER PRIMARY KEY, collection TEXT NOT NULL, name TEXT NOT NULL, title TEXT NOT NULL, uri TEXT,
    metadata TEXT NOT NULL, fingerprint TEXT NOT NULL, UNIQUE(collection, name)
) STRICT;
CREATE TABLE chunks(
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
    position INTEGER NOT NULL, start REAL, weight REAL NOT NULL, UNIQUE(document, position)
) STRICT;
CREATE VIRTUAL TABLE passages USING fts5(
    title, heading, body, tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co So'"
);
CREATE TRIGGER chunk_deleted AFTER DELETE ON chunks BEGIN
    DELETE FROM passages WHERE rowid = old.id;
END;
INSERT INTO documents VALUES (7, 'documents', 'a', 'Talk', 'file:///a', '{"language": "en"}', 'old');
INSERT INTO chunks VALUES (3, 7, 0, 65.0, 1.0);
INSERT INTO passages(rowid, title, heading, body) VALUES (3, 'Talk', 'Cause', 'old whale');
"""


def version(name: str, text: str) -> Prepared:
    return Prepared(document(name, text), [Chunk((), text)])


def test_what_is_staged_is_not_found_before_the_flip(index: Index, put: Put, path: Path) -> None:
    put("a", "old whale")
    order = Order("1", "documents")
    index.stage(order, [version("a", "new whale"), version("b", "new whale")])
    assert [hit.snippet for hit in search(path, "whale")] == ["old whale"]
    assert index.size("documents") == 1

    assert index.flip(order, 2, ["a-not-there"], unchanged=4) == Changes(added=1, updated=1, unchanged=4)

    assert [hit.snippet for hit in search(path, "whale")] == ["new whale"] * 2


def test_words_of_a_batch_are_written_once(index: Index) -> None:
    """FTS5 writes a segment at every savepoint: a thousand small ones are merged again and again."""
    index.stage(Order("1", "documents"), [version(f"a{number}", "whale") for number in range(3)])
    assert index.connection.execute("SELECT count(DISTINCT segid) FROM passages_idx").get == 1


def test_of_two_versions_in_a_batch_the_last_one_counts(index: Index, path: Path) -> None:
    order = Order("1", "documents")
    index.stage(order, [version("a", "old whale"), version("a", "new whale"), version("b", "new whale")])
    index.flip(order, 2)
    assert [hit.snippet for hit in search(path, "whale")] == ["new whale"] * 2


def test_a_delivery_after_the_flip_hears_what_the_first_one_changed(index: Index) -> None:
    order = Order("1", "documents")
    assert index.outcome(order) is None
    index.stage(order, [version("a", "x")])
    assert index.outcome(order) is None
    index.flip(order, 1, unchanged=2)
    assert index.outcome(order) == Changes(added=1, unchanged=2)


def test_a_sync_goes_on_where_it_was_broken_off(path: Path) -> None:
    order, documents = Order("1", "documents"), [document("a", "x"), document("b", "y")]
    with closing(Index(path)) as index:
        index.stage(order, [version("a", "x")])
    with closing(Index(path)) as index:
        compared = index.compare(order, documents)
        assert (compared.staged, compared.outdated) == ({"a"}, documents[1:])
        assert index.compare(Order("2", "documents"), documents).staged == set()
        newer = document("a", "newer")
        assert index.compare(order, [newer]).outdated == [newer]


def test_of_two_versions_in_one_sync_the_last_one_counts(index: Index, put: Put, path: Path) -> None:
    put("a", "old whale")
    order = Order("1", "documents")
    index.stage(order, [version("a", "other whale")])
    assert index.compare(order, [document("a", "old whale")]).settled == {"a"}
    assert index.flip(order, 0) == Changes()
    index.stage(order, [version("b", "first"), version("b", "whale")])
    index.flip(order, 1)
    assert sorted(hit.snippet for hit in search(path, "whale")) == ["old whale", "whale"]


def test_a_sync_of_many_changes_takes_one_revision(index: Index, put: Put, path: Path) -> None:
    put("gone", "x")
    with closing(apsw.Connection(str(path))) as other:
        before = other.execute("SELECT revision FROM state").get
        order = Order("1", "documents")
        index.stage(order, [version("a", "x"), version("b", "x")])
        assert index.flip(order, 2, ["gone"]).deleted == 1
        assert other.execute("SELECT revision FROM state").get == before + 1
        assert other.execute("SELECT count(*) FROM documents").get == 2


def test_an_unchanged_sync_writes_nothing(index: Index, put: Put) -> None:
    put("a", "x")
    before = index.connection.total_changes()
    order = Order("1", "documents")
    assert index.compare(order, [document("a", "x")]).settled == {"a"}
    assert index.flip(order, 0, ["never there"], unchanged=1) == Changes(unchanged=1)
    assert index.connection.total_changes() == before


def test_what_was_given_up_is_removed_and_its_sync_begins_again(index: Index, put: Put) -> None:
    order = Order("given up", "documents")
    index.stage(order, [version("a", "x")])
    for number in range(ABANDONED_AFTER):
        put("b", f"{number}")
    with pytest.raises(StagingLost, match="1 of 1 documents"):
        index.flip(order, 1)
    assert index.size("documents") == 1


@pytest.fixture
def schema_1(path: Path) -> Path:
    path.parent.mkdir()
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(SCHEMA_1)
    return path


def test_a_file_of_schema_1_is_migrated(schema_1: Path) -> None:
    with closing(Index(schema_1)) as index:
        [hit] = search(schema_1, "whale", metadata={"language": "en"})
        assert (hit.document, hit.title, hit.heading, hit.snippet, hit.start) == ("a", "Talk", "Cause", "old whale", 65)
        order = Order("1", "documents")
        assert index.compare(order, [document("a", "new whale")]).outdated
        index.stage(order, [version("a", "new whale")])
        assert index.flip(order, 1) == Changes(updated=1)
        assert [hit.snippet for hit in search(schema_1, "whale")] == ["new whale"]
        assert index.delete("documents", ["a"]) == 1
    with closing(Index(schema_1)), closing(apsw.Connection(str(schema_1))) as other:
        assert other.pragma("user_version") == schema.SCHEMA_VERSION
        assert other.pragma("foreign_key_check") is None and other.pragma("integrity_check") == "ok"


def test_a_migrated_file_has_the_tables_of_a_new_one(schema_1: Path, tmp_path: Path) -> None:
    def tables(path: Path) -> set[tuple[str, ...]]:
        with closing(Index(path)) as index:
            rows = index.connection.execute("SELECT type, name, tbl_name FROM sqlite_schema").fetchall()
            columns = index.connection.execute(
                "SELECT name, (SELECT json_group_array(name) FROM pragma_table_info(tables.name)) FROM"
                " sqlite_schema AS tables WHERE type = 'table'"
            ).fetchall()
            return {*rows, *columns}

    assert tables(schema_1) == tables(tmp_path / "new.sqlite")


def test_a_reader_of_schema_1_is_told_who_migrates_it(schema_1: Path) -> None:
    with pytest.raises(IndexUnusable, match="start the kb plugin"):
        search(schema_1, "whale")


def test_a_migration_that_dies_leaves_the_file_as_it_was(schema_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_REST", schema._REST + "SELECT * FROM nowhere;")
    with pytest.raises(IndexUnusable):
        Index(schema_1)
    with closing(apsw.Connection(str(schema_1))) as other:
        assert other.pragma("user_version") == 1
        assert other.execute("SELECT count(*) FROM documents").get == 1
