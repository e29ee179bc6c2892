"""The blob stores of a process, one per URI scheme."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from stenobus_bus import Bus, PermanentError
from stenobus_contracts import BlobRef, Media

from .blob_stores import BlobStore, Entry, MovingStore, NamedStore
from .errors import PluginError
from .file_store import FileStore
from .settings import CoreSettings

#: Entry point group of further stores: name = URI scheme, value = a function from the settings to the store.
GROUP: Final = "stenobus.blob_stores"
#: Bytes read into memory at once unless a handler allows more.
READ_LIMIT: Final = 64 * 1024 * 1024


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

    async def remove(self, uri: str, within: str | None = None) -> None:
        """Remove the file at an address of somebody's choice; removed already is as good.

        Args:
            within: the folder below which folders that are empty then go, too; none does by default.

        Raises:
            PermanentError: its store keeps no names, or refuses.
            RetryableError: its store is out of reach.
        """
        await self._named(uri).remove(uri, within)

    def aside(self, uri: str, label: str) -> str:
        """The address at which content would lie in quarantine. Raises PermanentError where its store has no such."""
        return self._moving(uri).aside(uri, label)

    async def may_move(self, uri: str, to: str) -> None:
        """Whether this process has the rights to move content there, and back. Changes nothing.

        Raises:
            AccessDenied, PermanentError: it has not, and what it lacks.
            RetryableError, ServerUnavailable: its store is out of reach.
        """
        await self._moving(uri).may_move(uri, to)

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
        if not all(hasattr(store, method) for method in ("aside", "may_move", "move")):
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


def _installed() -> Mapping[str, Callable[[CoreSettings], BlobStore]]:
    return {point.name: point.load() for point in entry_points(group=GROUP)}
