"""A file that cannot serve is told in one sentence."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from stenobus_kb import database
from stenobus_kb.chunk import Chunk
from stenobus_kb.errors import IndexMissing, IndexUnusable
from stenobus_kb.index import Index

from .conftest import Put, document, search

NOBODY = 65534


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder where this user may not write; root becomes nobody for the test."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def sentence(caught: pytest.ExceptionInfo[IndexUnusable]) -> str:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_a_file_that_is_no_database_is_damaged(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 1000)
    for use in (lambda: Index(path), lambda: search(path, "x")):
        with pytest.raises(IndexUnusable) as caught:
            use()
        assert "is damaged" in sentence(caught) and "replay" in sentence(caught)


def test_a_file_with_overwritten_pages_is_damaged(path: Path) -> None:
    with closing(Index(path)) as index:
        for number in range(50):
            index.put("documents", document(str(number), "x"), [Chunk((), f"whale {number}")])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(IndexUnusable) as caught:
        search(path, "whale")
    assert "is damaged" in sentence(caught)


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(apsw.Connection(str(path))) as other:
        other.execute("CREATE TABLE songs(name)")
    before = path.read_bytes()
    with pytest.raises(IndexUnusable) as caught:
        Index(path)
    assert "something else" in sentence(caught)
    assert path.read_bytes() == before


def test_another_schema_is_refused(path: Path, put: Put) -> None:
    put("a", "text")
    with closing(apsw.Connection(str(path))) as other:
        other.pragma("user_version", database.SCHEMA_VERSION + 1)
    for use in (lambda: Index(path), lambda: search(path, "x")):
        with pytest.raises(IndexUnusable) as caught:
            use()
        assert f"has schema {database.SCHEMA_VERSION + 1}" in sentence(caught)


def test_an_empty_file_is_an_index_to_be(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(IndexMissing):
        search(path, "x")
    Index(path).close()
    assert search(path, "x") == []


def test_a_read_only_folder_cannot_hold_an_index(read_only_folder: Path) -> None:
    for place in (read_only_folder / "kb.sqlite", read_only_folder / "below" / "kb.sqlite"):
        with pytest.raises(IndexUnusable) as caught:
            Index(place)
        assert "STENOBUS_KB_PATH" in sentence(caught)


def test_a_folder_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(IndexUnusable) as caught:
        Index(path)
    assert "STENOBUS_KB_PATH" in sentence(caught)


def test_a_writer_that_waits_too_long_says_why(index: Index, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 10)
    with closing(apsw.Connection(str(path))) as other, closing(Index(path)) as second:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnusable) as caught:
            second.put("documents", document("a", "x"), [])
        other.execute("ROLLBACK")
    assert "another process" in sentence(caught)


def test_a_full_disk_loses_nothing(index: Index, put: Put, path: Path) -> None:
    put("a", "old whale")
    index.connection.pragma("max_page_count", index.connection.pragma("page_count"))
    with pytest.raises(IndexUnusable) as caught:
        put("a", "new whale " * 100_000)
    assert "full" in sentence(caught)
    assert [hit.snippet for hit in search(path, "whale")] == ["old whale"]
