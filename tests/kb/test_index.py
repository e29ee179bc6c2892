"""Documents come, change and go; every reader sees whole versions."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from stenobus_kb.chunk import Chunk
from stenobus_kb.database import open_reader
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index
from stenobus_kb.library import Library
from stenobus_kb.matrix import Matrix
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared

from .conftest import Put, document, search

#: Opens an index and dies by SIGKILL: at a change of a row, or with everything written but the commit.
DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from stenobus_contracts import BlobRef, KbDocument
from stenobus_kb.chunk import Chunk
from stenobus_kb.index import Index
from stenobus_kb.order import Order

path, when = Path(sys.argv[1]), sys.argv[2]
index = Index(path)
changes = 0

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at(*_):
    global changes
    changes += 1
    if changes == int(when):
        die()

if when == "commit":
    index.connection.set_commit_hook(die)
elif when == "committed":
    index.connection.set_wal_hook(die)
else:
    index.connection.set_update_hook(die_at)
content = BlobRef(uri="file:///x", sha256="f" * 64, size=1)
index.put("documents", KbDocument(id="a", title="a", content=content), [Chunk((), f"new whale {n}") for n in range(40)])
"""


#: All rows of a table, but of those that hold one row or few, and of the index of what is to be removed.
SCAN = re.compile(r"SCAN (?!state|generations|CONSTANT|documents USING INDEX gone_documents|passages .* INDEX \d+:=)")


@pytest.fixture
def other(path: Path) -> Iterator[apsw.Connection]:
    """A second look at the file, as any SQLite tool has it."""
    with closing(apsw.Connection(str(path))) as connection:
        yield connection


def count(connection: apsw.Connection, table: str) -> int:
    rows: int = connection.execute(f"SELECT count(*) FROM {table}").get
    return rows


def test_a_document_is_added_then_left_alone_then_replaced(index: Index, put: Put, path: Path) -> None:
    assert put("a", "old whale") == "added"
    assert put("a", "old whale") == "unchanged"
    assert put("a", "new giraffe") == "updated"
    assert search(path, "whale") == []
    assert len(search(path, "giraffe")) == 1


def test_an_unchanged_document_writes_nothing(index: Index, put: Put) -> None:
    put("a", "text")
    before = index.connection.total_changes()
    put("a", "text")
    assert index.connection.total_changes() == before


@pytest.mark.parametrize("change", [{"title": "other"}, {"uri": "file:///other"}])
def test_a_new_title_or_address_is_a_new_version(put: Put, change: dict[str, str]) -> None:
    put("a", "text")
    assert put("a", "text", **change) == "updated"


def test_only_outdated_documents_need_their_content(index: Index, put: Put) -> None:
    put("a", "text")
    documents = [document("a", "text"), document("a", "newer"), document("b", "text")]
    assert index.compare(Order("1", "documents"), documents).outdated == documents[1:]
    assert index.compare(Order("2", "elsewhere"), documents).outdated == documents[1:]
    assert index.compare(Order("3", "documents"), documents[:1]).settled == {"a"}


def test_a_deleted_document_leaves_nothing_behind(index: Index, put: Put, other: apsw.Connection) -> None:
    put("a", "# One\n\nx\n\n# Two\n\ny")
    put("b", "z")
    assert index.delete("documents", ["a", "never there"]) == 1
    assert index.delete("documents", ["a"]) == 0
    assert [count(other, table) for table in ("documents", "chunks", "passages")] == [1, 1, 1]


def test_a_replaced_document_leaves_nothing_behind(put: Put, other: apsw.Connection) -> None:
    put("a", "# One\n\nx\n\n# Two\n\ny")
    put("a", "z")
    assert [count(other, table) for table in ("documents", "chunks", "passages")] == [1, 1, 1]
    other.execute("INSERT INTO passages(passages) VALUES ('integrity-check')")


def test_collections_do_not_share_names(index: Index, put: Put) -> None:
    put("a", "x", collection="one")
    put("a", "# 1\n\nx\n\n# 2\n\ny", collection="two")
    assert (index.size("one"), index.size("two"), index.size("three")) == (1, 2, 0)
    index.delete("one", ["a"])
    assert (index.size("one"), index.size("two")) == (0, 2)


def test_an_error_in_the_middle_keeps_the_old_version(index: Index, put: Put, path: Path) -> None:
    put("a", "old whale")
    with pytest.raises(AttributeError):
        index.put("documents", document("a", "new"), [Chunk((), "new whale"), None])  # type: ignore[list-item]
    assert [hit.snippet for hit in search(path, "whale")] == ["old whale"]


@pytest.mark.parametrize("when", ["1", "2", "20", "60", "commit"])
def test_a_writer_killed_in_the_middle_leaves_the_old_version(put: Put, path: Path, when: str) -> None:
    put("a", "old whale")
    kill_writer(path, when)
    assert [hit.snippet for hit in search(path, "whale")] == ["old whale"]
    assert put("a", "newer whale") == "updated"


def test_a_writer_killed_after_the_commit_leaves_the_new_version(index: Index, put: Put, path: Path) -> None:
    put("a", "old whale")
    kill_writer(path, "committed")
    assert {hit.snippet.split()[0] for hit in search(path, "whale")} == {"new"}
    assert index.size("documents") == 40


def test_a_reader_recovers_what_a_killed_writer_left(path: Path) -> None:
    with closing(Index(path)) as index:
        index.put("documents", document("a", "old"), [Chunk((), "old whale")])
    kill_writer(path, "commit")
    assert [hit.snippet for hit in search(path, "whale")] == ["old whale"]


def kill_writer(path: Path, when: str) -> None:
    died = subprocess.run([sys.executable, "-c", DYING_WRITER, str(path), when], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL


def test_readers_see_whole_versions_while_a_writer_works(index: Index, path: Path) -> None:
    def version(number: int) -> None:
        text = f"v{number}"
        index.put("documents", document("a", text), [Chunk((), f"whale {text}")] * 3)

    version(0)
    done = threading.Event()
    seen: list[set[str]] = []

    def read() -> None:
        while not done.is_set():
            seen.append({hit.snippet for hit in search(path, "whale")})

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 100):
        version(number)
    done.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 2 and all(len(versions) == 1 for versions in seen)


def test_several_processes_may_create_and_write_one_index(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from stenobus_kb.index import Index; from stenobus_kb.chunk import Chunk;"
        "from stenobus_contracts import BlobRef, KbDocument;"
        "index = Index(Path(sys.argv[1]));"
        "[index.put('documents', KbDocument(id=f'{sys.argv[2]}-{n}', title='t',"
        " content=BlobRef(uri='file:///x', sha256='0' * 64, size=1)), [Chunk((), 'whale')]) for n in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    with closing(Index(path)) as index:
        assert index.size("documents") == 80


def test_what_a_sync_takes_does_not_grow_with_the_index(index: Index, put: Put, path: Path) -> None:
    """Every statement of a sync, of its reader and of a start finds its rows by an index that holds no others."""
    put("a", "old whale")
    library = Library(index, HashedEmbedder())
    library.catch_up()
    asked = dict[str, Any]()

    def note(_: Any, sql: str, bindings: Any) -> bool:
        asked[sql] = bindings
        return True

    with closing(open_reader(path)) as reader:
        matrix = Matrix()
        matrix.follow(reader)
        for connection in (index.connection, reader):
            connection.exec_trace = note
        order = Order("1", "documents")
        prepared = [Prepared(document(name, f"{name} whale"), [Chunk((), f"{name} whale")]) for name in "ab"]
        assert index.compare(order, [each.document for each in prepared]).outdated
        library.stage(order, prepared)
        library.flip(order, 2)
        assert matrix.follow(reader) and len(matrix) == 2
        index.connection.exec_trace = None

    def plan(sql: str) -> str:
        return "; ".join(detail for *_, detail in index.connection.execute(f"EXPLAIN QUERY PLAN {sql}", asked[sql]))

    plans = {sql: plan(sql) for sql in asked if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)", sql)}
    assert len(plans) > 10
    assert {sql: steps for sql, steps in plans.items() if SCAN.search(steps)} == {}
    [load] = [steps for sql, steps in plans.items() if "weight, vector" in sql]
    assert load.startswith("SEARCH documents USING INDEX born_documents (born>?)")
    [sweep] = [steps for sql, steps in plans.items() if "NOT live" in sql]
    assert "gone_documents" in sweep
