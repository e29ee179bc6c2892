"""Blobs as files, and files under names of one's choice."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, unquote, urlsplit

from stenobus_bus import BlobNotFound, PermanentError
from stenobus_contracts import BlobRef

from .blob_stores import Entry
from .folders import is_file, open_folder

_BLOCK: Final = 1 << 20


class FileStore:
    """Blobs as files.

    Args:
        folder: where new blobs go.
        roots: folders that reading is limited to; anywhere when empty.
    """

    def __init__(self, folder: Path, roots: tuple[Path, ...] = ()) -> None:
        self._folder = folder
        self._roots = tuple(root.resolve() for root in (*roots, folder)) if roots else ()

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file; complete or not at all."""
        return await asyncio.to_thread(self._put, data, content_type)

    async def open(self, uri: str) -> AsyncIterator[bytes]:
        """Blocks of a file. Raises BlobNotFound, or PermanentError outside the allowed folders."""
        path = self.path(uri)
        try:
            if not path.is_file():  # no pipe and no device either: they may never end
                raise BlobNotFound(uri)
            with path.open("rb") as file:
                while block := await asyncio.to_thread(file.read, _BLOCK):
                    yield block
        except FileNotFoundError as error:
            raise BlobNotFound(uri) from error
        except OSError as error:
            raise PermanentError(f"{path} cannot be read: {error.strerror}.") from error

    async def write(self, path: Path, uri: str, content_type: str) -> None:
        """Copy a file to an address; readers see the old content or the new. Raises PermanentError."""
        await asyncio.to_thread(self._write, path, self.path(uri))

    async def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below a folder. Links are not followed.

        Raises:
            BlobNotFound: there is no such folder.
            PermanentError: it, or a folder in it, cannot be read.
        """
        for entry in await asyncio.to_thread(_walk, self.path(uri), uri):
            yield entry

    async def remove(self, uri: str, within: str | None = None) -> None:
        """Remove a file, or a link to one, and the folders below ``within`` that are empty then.

        Raises:
            PermanentError: it cannot be removed, or one of them lies outside the allowed folders.
        """
        await asyncio.to_thread(_remove, self.path(uri), self.path(within) if within else None)

    def aside(self, uri: str, label: str) -> str:
        """An address beside the blobs. Raises PermanentError outside the allowed folders."""
        return file_uri(self._folder.resolve() / "quarantine" / label / self._own(uri).name)

    async def may_move(self, uri: str, to: str) -> None:
        """Raise PermanentError where this user may not write in the folders of both addresses."""
        await asyncio.to_thread(_may_move, self._own(uri), self._own(to))

    async def move(self, uri: str, to: str) -> None:
        """Rename a file, or copy it to another disk and remove it then. Links are not followed.

        Raises:
            BlobNotFound: it lies at neither address.
            PermanentError: one of them lies outside the blobs' folder and the allowed ones, or cannot be written.
        """
        try:
            await asyncio.to_thread(_move, self._own(uri), self._own(to))
        except FileNotFoundError as error:
            raise BlobNotFound(uri) from error
        except OSError as error:
            raise PermanentError(f"{uri} cannot be moved: {error.strerror}.") from error

    async def close(self) -> None:
        """Nothing to release."""

    def _own(self, uri: str) -> Path:
        """The file behind a URI, where somebody said that files are ours to move: reading may be free anywhere."""
        path = self.path(uri)
        if path != path.resolve() or not any(
            path.is_relative_to(root) for root in (*self._roots, self._folder.resolve())
        ):
            raise PermanentError(f"{path} lies outside the blobs and the folders of STENOBUS_FILE_ROOTS, or is a link.")
        return path

    def path(self, uri: str) -> Path:
        """The file behind a URI.

        Raises:
            PermanentError: it lies outside the allowed folders, or on another host.
        """
        parts = urlsplit(uri)
        if parts.netloc not in {"", "localhost"}:
            raise PermanentError(f"{uri} names the host {parts.netloc}; write file:///path with three slashes.")
        path = Path(unquote(parts.path))
        if self._roots and not any(path.resolve().is_relative_to(root) for root in self._roots):
            raise PermanentError(f"{path} lies outside the folders of STENOBUS_FILE_ROOTS.")
        return path

    def _put(self, data: bytes | Path, content_type: str) -> BlobRef:
        digest, size = hashlib.sha256(), 0
        with _replacing(self._folder) as (target, replace):
            for block in _blocks(data):
                digest.update(block)
                size += len(block)
                target.write(block)
            path = self._folder / digest.hexdigest()
            replace(path)
        return BlobRef(uri=file_uri(path), sha256=digest.hexdigest(), size=size, content_type=content_type)

    def _write(self, source: Path, path: Path) -> None:
        try:
            with _replacing(path.parent) as (target, replace):
                for block in _blocks(source):
                    target.write(block)
                replace(path)
        except OSError as error:
            raise PermanentError(f"{path} cannot be written: {error.strerror}.") from error


def file_uri(path: Path) -> str:
    """``file:///…`` of a path."""
    return f"file://{quote(str(path.resolve()))}"


@contextmanager
def _replacing(folder: Path) -> Iterator[tuple[BinaryIO, Callable[[Path], None]]]:
    """A file to write in a folder, and what puts it in its place: whole and on the disk, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".stenobus-")
    try:
        with os.fdopen(handle, "wb") as target:

            def replace(path: Path) -> None:
                target.flush()
                os.fsync(target.fileno())
                Path(temporary).replace(path)

            yield target, replace
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _may_move(source: Path, target: Path) -> None:
    for folder in (source.parent, target.parent):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            raise PermanentError(f"this user may not write in {there}.")


def _move(source: Path, target: Path) -> None:
    with open_folder(source.parent) as here, open_folder(target.parent, make=True) as there:
        if not is_file(here, source.name):
            if is_file(there, target.name):
                return  # it was moved before
            raise FileNotFoundError
        try:
            os.rename(source.name, target.name, src_dir_fd=here, dst_dir_fd=there)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with _replacing(target.parent) as (copy, replace):
                for block in _blocks(source):
                    copy.write(block)
                replace(target)
            os.unlink(source.name, dir_fd=here)
        os.fsync(there)


def _remove(path: Path, floor: Path | None) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise PermanentError(f"{path} cannot be removed: {error.strerror}.") from error
    if floor is None:
        return
    floor, folder = floor.resolve(), path.parent.resolve()
    while floor in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass  # somebody else removed it; what is above it may be empty now
        except OSError:  # something is in it, or it is not ours
            return
        folder = folder.parent


def _walk(root: Path, uri: str) -> list[Entry]:
    if not root.is_dir():
        raise BlobNotFound(uri)

    def unreadable(error: OSError) -> None:
        raise PermanentError(f"{error.filename} cannot be read: {error.strerror}.") from error

    found = []
    for folder, _, names in os.walk(root, onerror=unreadable):
        for name in names:
            path = Path(folder) / name
            if name.startswith(".stenobus-") or path.is_symlink() or not path.is_file():
                continue
            stat = path.stat()
            found.append(Entry(file_uri(path), stat.st_size, f"{stat.st_mtime_ns}-{stat.st_size}"))
    return sorted(found, key=lambda entry: entry.uri)


def _blocks(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
