"""The one SQLite file: opening it safely, and its errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from . import schema
from .errors import IndexMissing, IndexUnusable
from .schema import SCHEMA_VERSION

#: Tells an index from any other SQLite file: "STKB".
APPLICATION_ID = 0x53544B42
BUSY_TIMEOUT_MS = 10_000
#: Bytes of a page of a new file: five vectors of 384 numbers fill one, of the usual 4,096 bytes they waste a quarter.
PAGE_BYTES = 8_192
#: Memory of a writer for pages, in KiB: what a transaction touches here and there is written once.
CACHE_KIB = 65_536
_REBUILD = "move it away, restart the kb plugin and replay its handlers kb-ready and kb-sync to build it again"


def open_writer(path: Path) -> apsw.Connection:
    """A connection that may write; makes the folder and the file when they are missing, migrates an earlier schema.

    Raises:
        IndexUnusable: the place is not writable, or the file is damaged, foreign or of another schema.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.transaction_mode = "IMMEDIATE"  # a lock upgrade in mid-transaction cannot wait its turn
            connection.pragma("page_size", PAGE_BYTES)
            connection.pragma("cache_size", -CACHE_KIB)
            with connection:
                version = _version(connection, path)
                if version is None:
                    schema.create(connection)
                    connection.pragma("application_id", APPLICATION_ID)
                elif version in schema.KNOWN:
                    schema.migrate(connection, version)
                elif version != SCHEMA_VERSION:
                    raise _other_schema(path, version)
                if version != SCHEMA_VERSION:
                    connection.pragma("user_version", SCHEMA_VERSION)
            connection.pragma("journal_mode", "wal")
            # An event is acknowledged after its commit, so the commit has to outlive a power cut.
            connection.pragma("synchronous", "full")
            connection.pragma("foreign_keys", True)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> apsw.Connection:
    """A connection that only reads.

    Raises:
        IndexMissing: nothing has been indexed yet.
        IndexUnusable: the file is unreadable, damaged, foreign or of another schema.
    """
    missing = IndexMissing(f"There is no index at {path} yet: it appears with the first finished document.")
    with explained(path):
        if not path.exists():
            raise missing
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            version = _version(connection, path)
            if version is None:
                raise missing
            if version != SCHEMA_VERSION:
                raise _other_schema(path, version)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one sentence.

    Raises:
        IndexUnusable: instead of any SQLite or OS error inside the block.
    """
    try:
        yield
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise IndexUnusable(f"The index {path} is damaged ({error}): {_REBUILD}.") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, OSError) as error:
        raise IndexUnusable(
            f"The index {path} cannot be opened or written ({error}): set STENOBUS_KB_PATH to a file in a folder "
            "where this user may write."
        ) from error
    except apsw.FullError as error:
        raise IndexUnusable(f"The disk of the index {path} is full: free some space, nothing was lost.") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise IndexUnusable(
            f"The index {path} is held by another process for more than {BUSY_TIMEOUT_MS // 1000} s: try again."
        ) from error
    except apsw.Error as error:
        raise IndexUnusable(f"The index {path} failed ({error}): see the disk's health and try again.") from error


def _version(connection: apsw.Connection, path: Path) -> int | None:
    """The schema of our tables; None when the file holds nothing at all."""
    if connection.pragma("application_id") != APPLICATION_ID:
        if connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise IndexUnusable(f"{path} is a SQLite file of something else: set STENOBUS_KB_PATH to another file.")
        return None
    version: int = connection.pragma("user_version")
    return version


def _other_schema(path: Path, version: int) -> IndexUnusable:
    advice = (
        "start the kb plugin of this release, which migrates it"
        if version in schema.KNOWN
        else f"use the release that wrote it, or {_REBUILD}"
    )
    return IndexUnusable(
        f"The index {path} has schema {version} and this release works with schema {SCHEMA_VERSION}: {advice}."
    )
