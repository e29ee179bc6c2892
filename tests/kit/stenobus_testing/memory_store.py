"""A blob store in memory, and everything that may befall a store."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from stenobus_contracts import BlobRef
from stenobus_core import BlobNotFound, CoreSettings

SCHEME: Final = "memory"
_CHUNK: Final = 1 << 20


class MemoryStore:
    """Blobs in this process's memory, behind ``memory://``: a host uses it with ``blob_store="memory"``.

    Every way in which a store can fail is a method: :meth:`lose`, :meth:`corrupt`, :meth:`refuse`, :meth:`hold`.
    """

    _stores: ClassVar[WeakValueDictionary[Path, MemoryStore]] = WeakValueDictionary()

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._refusals: deque[Exception] = deque()
        self._passing = asyncio.Event()
        self._passing.set()
        #: Calls that wait for :meth:`let_go`.
        self.waiting = 0

    @classmethod
    def of(cls, settings: CoreSettings) -> MemoryStore:
        """The store that all hosts with these settings' data folder share."""
        store = cls._stores.get(settings.data_dir)
        if store is None:
            store = cls._stores[settings.data_dir] = cls()
        return store

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file."""
        await self._befall()
        content = data if isinstance(data, bytes) else await asyncio.to_thread(data.read_bytes)
        digest = hashlib.sha256(content).hexdigest()
        uri = f"{SCHEME}://{digest}"
        self._blobs[uri] = content
        return BlobRef(uri=uri, sha256=digest, size=len(content), content_type=content_type)

    async def open(self, uri: str) -> AsyncIterator[bytes]:
        """Chunks of a blob. Raises BlobNotFound."""
        await self._befall()
        if uri not in self._blobs:
            raise BlobNotFound(uri)
        content = self._blobs[uri]
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK]

    async def close(self) -> None:
        """Nothing to release; the blobs stay for the next host."""

    # --- what may befall it ------------------------------------------------------------------------------------------

    def lose(self, ref: BlobRef) -> None:
        """The blob is gone."""
        del self._blobs[ref.uri]

    def corrupt(self, ref: BlobRef) -> None:
        """The first byte of the blob is another one. The reference does not know."""
        content = self._blobs[ref.uri]
        self._blobs[ref.uri] = bytes([content[0] ^ 0xFF]) + content[1:]

    def refuse(self, error: Exception, times: int = 1) -> None:
        """The next calls fail."""
        self._refusals.extend([error] * times)

    def hold(self) -> None:
        """Calls take for ever, until :meth:`let_go`."""
        self._passing.clear()

    def let_go(self) -> None:
        """Calls that waited, and all others, go on."""
        self._passing.set()

    async def _befall(self) -> None:
        if self._refusals:
            raise self._refusals.popleft()
        self.waiting += 1
        try:
            await self._passing.wait()
        finally:
            self.waiting -= 1
