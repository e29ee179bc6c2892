"""A sync is killed with SIGKILL anywhere: readers find the old version of everything or the new one, never a mixture.

``STENOBUS_KILL_RUNS`` sets the number of kills, ``STENOBUS_KILL_SEED`` the places.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw

from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index
from stenobus_kb.library import Library
from stenobus_kb.order import Order
from stenobus_kb.search import Mode, Query, Searcher

RUNS = int(os.environ.get("STENOBUS_KILL_RUNS", "6"))
SEED = int(os.environ.get("STENOBUS_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
DOCUMENTS = 12
#: Rows that one whole sync changes, nearly: kills are spread over them.
CHANGES = 900

#: Syncs version N of all documents in several steps, removes one document and adds another; dies at the given change of
#: a row, or at the given commit.
SYNC = """
import os, signal, sys
from pathlib import Path
from stenobus_contracts import BlobRef, KbDocument
from stenobus_kb.chunk import Chunk
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.library import Library

path, kind = Path(sys.argv[1]), sys.argv[4]
version, documents, left = (int(sys.argv[place]) for place in (2, 3, 5))

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0

index = Index(path)
if kind == "change":
    index.connection.set_update_hook(count)
else:
    index.connection.set_wal_hook(count)
library = Library(index, HashedEmbedder(32))
library.catch_up()
order = Order(f"sync-{version}", "documents")
names = [f"d{number}" for number in range(documents)] + [f"only-{version}"]
content = BlobRef(uri="file:///x", sha256=f"{version:064x}", size=1)
wanted = [KbDocument(id=name, title=name, content=content) for name in names]
if index.outcome(order) is None:
    compared = index.compare(order, wanted)
    for start in range(0, len(compared.outdated), 4):
        part = compared.outdated[start : start + 4]
        text = f"whale version{version}"
        library.stage(order, [Prepared(each, [Chunk((), f"{text} {each.id} {n}") for n in range(3)]) for each in part])
    library.flip(order, len(wanted) - len(compared.settled), [f"only-{version - 1}"])
"""


def sync(path: Path, version: int, kind: str = "commit", place: int = 0) -> int:
    command = [sys.executable, "-c", SYNC, str(path), str(version), str(DOCUMENTS), kind, str(place)]
    return subprocess.run(command, check=False, timeout=120).returncode


def served(path: Path, mode: Mode) -> int:
    """The one version that is found, whole."""
    with closing(Searcher(path, HashedEmbedder(32))) as searcher:
        page = searcher.search(Query("whale version", mode=mode, limit=500))
    assert page.note is None
    versions = {hit.snippet.split()[1] for hit in page.hits}
    assert len(versions) == 1, f"a mixture of {sorted(versions)}"
    [version] = versions
    number = int(version.removeprefix("version"))
    names = {hit.document for hit in page.hits}
    assert names == {f"d{each}" for each in range(DOCUMENTS)} | {f"only-{number}"} and len(page.hits) == 3 * len(names)
    return number


def test_a_sync_killed_anywhere_shows_the_old_or_the_new(path: Path) -> None:
    print(f"seed {SEED}, {RUNS} kills")
    dice = random.Random(SEED)
    assert sync(path, 1) == 0
    version, died = 1, 0
    for _ in range(RUNS):
        kind = dice.choice(["change", "change", "commit"])
        place = dice.randrange(1, CHANGES) if kind == "change" else dice.randrange(1, 9)
        ended = sync(path, version + 1, kind, place)
        died += ended == -signal.SIGKILL
        assert ended in {0, -signal.SIGKILL}
        words = served(path, "words")
        assert words == served(path, "vectors") and words in {version, version + 1}
        version = words
    assert died > 0, "no process was killed: CHANGES is too large"

    assert sync(path, version + 1) == 0
    assert served(path, "hybrid") == version + 1
    with closing(Index(path)) as index:
        Library(index, None).flip(Order("sweep", "documents"), 0, [f"only-{version + 1}"])
    with closing(apsw.Connection(str(path))) as other:
        assert other.execute("SELECT count(*) FROM documents WHERE NOT live").get == 0
        assert other.execute("SELECT count(*) FROM passages").get == 3 * DOCUMENTS
        assert other.pragma("integrity_check") == "ok"
