"""Blob stores: where content lies that never rides in an event. One per URI scheme."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast
from urllib.parse import quote, unquote, urlsplit

from stenobus_bus import BlobNotFound, Bus, PermanentError
from stenobus_contracts import BlobRef, Media

from .errors import PluginError
from .folders import is_file, open_folder
from .settings import CoreSettings

#: Entry point group of further stores: name = URI scheme, value = a function from the settings to the store.
GROUP: Final = "stenobus.blob_stores"
#: Bytes read into memory at once unless a handler allows more.
READ_LIMIT: Final = 64 * 1024 * 1024
_BLOCK: Final = 1 << 20


class BlobStore(Protocol):
    """Content-addressed storage behind one URI scheme."""

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file, under their SHA-256; storing twice stores once."""
        ...

    def open(self, uri: str) -> AsyncIterator[bytes]:
        """Chunks of a blob in order. Raises BlobNotFound."""
        ...

    async def close(self) -> None:
        """Release what the store holds."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A file under a name of somebody's choice."""

    uri: str
    size: int
    #: Changes whenever the content does: an ETag, or time and size.
    version: str


class NamedStore(BlobStore, Protocol):
    """A store that also keeps files under names of one's choice. NATS object buckets do not."""

    async def write(self, path: Path, uri: str, content_type: str) -> None:
        """Store a file at an address, in place of what is there; complete or not at all."""
        ...

    def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below a folder, in order of their addresses. What cannot be listed whole is an error."""
        ...

    async def remove(self, uri: str) -> None:
        """Remove the file at an address; removed already is as good."""
        ...


class MovingStore(BlobStore, Protocol):
    """A store that can set content aside, and put it back."""

    def aside(self, uri: str, label: str) -> str:
        """The address at which content would lie in quarantine, under a label of one's choice."""
        ...

    async def move(self, uri: str, to: str) -> None:
        """Give content another address; moved already is as good.

        Raises:
            BlobNotFound: it lies at neither.
            PermanentError: it must not be moved, or cannot be.
        """
        ...


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

    async def remove(self, uri: str) -> None:
        """Remove a file, or a link to one, and the folders that are empty then. Raises PermanentError."""
        await asyncio.to_thread(_remove, self.path(uri))

    def aside(self, uri: str, label: str) -> str:
        """An address beside the blobs. Raises PermanentError outside the allowed folders."""
        return file_uri(self._folder.resolve() / "quarantine" / label / self._own(uri).name)

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


class Blobs:
    """All stores of a process: new blobs go to the configured one, reading follows the URI's scheme.

    Raises:
        PluginError: the configured store is not installed or cannot start.
    """

    def __init__(self, settings: CoreSettings, bus: Bus) -> None:
        self._settings = settings
        self._files = FileStore(settings.data_dir / "blobs", settings.file_roots)
        self._stores: dict[str, BlobStore] = {"nats": bus.objects, "file": self._files}
        self._default = self._store(settings.blob_store)

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file."""
        return await self._default.put(data, content_type)

    async def chunks(self, ref: BlobRef | Media) -> AsyncIterator[bytes]:
        """The bytes of a reference, its size and hash verified where they are known.

        Raises:
            BlobNotFound: it is gone.
            PermanentError: it differs from what the reference promises.
        """
        digest, size = hashlib.sha256(), 0
        async for chunk in self._store(urlsplit(ref.uri).scheme).open(ref.uri):
            size += len(chunk)
            if ref.size is not None and size > ref.size:
                break
            digest.update(chunk)
            yield chunk
        if ref.size is not None and size != ref.size:
            raise PermanentError(f"{ref.uri}: {size} bytes found where {ref.size} were promised; publish it again.")
        if ref.sha256 is not None and digest.hexdigest() != ref.sha256:
            raise PermanentError(f"{ref.uri}: its content differs from the promised hash; publish it again.")

    async def read(self, ref: BlobRef | Media, limit: int = READ_LIMIT) -> bytes:
        """The whole content.

        Raises:
            BlobNotFound: it is gone.
            PermanentError: it is larger than ``limit`` bytes, or differs from what the reference promises.
        """
        parts, size = [], 0
        async for chunk in self.chunks(ref):
            size += len(chunk)
            if size > limit:
                raise PermanentError(f"{ref.uri} is larger than the limit of {limit} bytes.")
            parts.append(chunk)
        return b"".join(parts)

    async def write(self, data: bytes | Path, uri: str, content_type: str) -> None:
        """Store bytes, or a file, at an address of one's choice, in place of what is there.

        Raises:
            PermanentError: its store keeps no names, or refuses.
            RetryableError: its store is out of reach.
        """
        store = self._named(uri)
        if isinstance(data, Path):
            await store.write(data, uri, content_type)
            return
        with tempfile.TemporaryDirectory(prefix="stenobus-") as folder:
            path = Path(folder) / "content"
            await asyncio.to_thread(path.write_bytes, data)
            await store.write(path, uri, content_type)

    def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below a folder, ``file:///folder/`` or ``s3://bucket/prefix/``, in order of their addresses.

        Raises:
            BlobNotFound: there is no such folder or bucket.
            PermanentError: its store keeps no names, or not all of it can be listed.
            RetryableError: its store is out of reach.
        """
        return self._named(uri).walk(uri)

    async def remove(self, uri: str) -> None:
        """Remove the file at an address of somebody's choice; removed already is as good.

        Raises:
            PermanentError: its store keeps no names, or refuses.
            RetryableError: its store is out of reach.
        """
        await self._named(uri).remove(uri)

    def aside(self, uri: str, label: str) -> str:
        """The address at which content would lie in quarantine. Raises PermanentError where its store has no such."""
        return self._moving(uri).aside(uri, label)

    async def move(self, uri: str, to: str) -> None:
        """Give content another address in its store; moved already is as good.

        Raises:
            BlobNotFound: it lies at neither.
            PermanentError: it must not be moved, or its store cannot.
            RetryableError: its store is out of reach.
        """
        await self._moving(uri).move(uri, to)

    @asynccontextmanager
    async def fetch(self, ref: BlobRef | Media) -> AsyncIterator[Path]:
        """A local file with the content: the file itself for ``file://``, else a temporary copy."""
        if urlsplit(ref.uri).scheme == "file":
            async for _ in self.chunks(ref):
                pass  # reads and verifies
            yield self._files.path(ref.uri)
            return
        suffix = Path(urlsplit(ref.uri).path).suffix
        with tempfile.TemporaryDirectory(prefix="stenobus-") as folder:
            path = Path(folder) / f"content{suffix}"
            with path.open("wb") as file:
                async for chunk in self.chunks(ref):
                    await asyncio.to_thread(file.write, chunk)
            yield path

    async def close(self) -> None:
        """Close every store."""
        for store in self._stores.values():
            await store.close()

    def _named(self, uri: str) -> NamedStore:
        scheme = urlsplit(uri).scheme
        store = self._store(scheme)
        if not all(hasattr(store, method) for method in ("write", "walk", "remove")):
            raise PermanentError(f"{uri}: files cannot be named in {scheme}://; use file:// or s3://.")
        return cast(NamedStore, store)

    def _moving(self, uri: str) -> MovingStore:
        scheme = urlsplit(uri).scheme
        store = self._store(scheme)
        if not (hasattr(store, "move") and hasattr(store, "aside")):
            raise PermanentError(f"{uri}: content cannot be moved in {scheme}://.")
        return cast(MovingStore, store)

    def _store(self, scheme: str) -> BlobStore:
        if scheme not in self._stores:
            factory = _installed().get(scheme)
            if factory is None:
                raise PermanentError(
                    f"{scheme}:// needs a blob store that is not installed; try `pip install stenobus-{scheme}`."
                )
            try:
                self._stores[scheme] = factory(self._settings)
            except Exception as error:
                raise PluginError(f"The blob store {scheme} cannot start: {error}.") from error
        return self._stores[scheme]


def file_uri(path: Path) -> str:
    """``file:///…`` of a path."""
    return f"file://{quote(str(path.resolve()))}"


def _installed() -> Mapping[str, Callable[[CoreSettings], BlobStore]]:
    return {point.name: point.load() for point in entry_points(group=GROUP)}


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


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise PermanentError(f"{path} cannot be removed: {error.strerror}.") from error
    for folder in path.parents:
        try:
            folder.rmdir()
        except OSError:  # something is in it, or it is not ours
            return


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
