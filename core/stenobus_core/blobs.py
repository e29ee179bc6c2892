"""Blob stores: where content lies that never rides in an event. One per URI scheme."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from stenobus_bus import BlobNotFound, Bus, PermanentError
from stenobus_contracts import BlobRef, Media

from .errors import PluginError
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

    async def close(self) -> None:
        """Nothing to release."""

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
        self._folder.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as target:
                for block in _blocks(data):
                    digest.update(block)
                    size += len(block)
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
            path = self._folder / digest.hexdigest()
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return BlobRef(uri=file_uri(path), sha256=digest.hexdigest(), size=size, content_type=content_type)


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


def _blocks(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
