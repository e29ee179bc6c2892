"""What every blob store has to do. A backend's test class inherits this and provides the two fixtures."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from stenobus_core import BlobNotFound, BlobStore
from stenobus_core.blob_stores import MovingStore

#: More than one part, chunk or message in any backend.
LARGE = random.Random(7).randbytes(9 * 1024 * 1024 + 17)
#: The most a reader has to hold at once.
MAX_CHUNK_BYTES = 8 * 1024 * 1024


class BlobStoreContract:
    """Behaviour shared by all blob stores."""

    @pytest.fixture
    def store(self) -> BlobStore:
        """A ready store."""
        raise NotImplementedError

    @pytest.fixture
    def missing(self) -> str:
        """A well-formed URI of this store at which nothing is."""
        raise NotImplementedError

    @staticmethod
    async def read(store: BlobStore, uri: str) -> bytes:
        return b"".join([chunk async for chunk in store.open(uri)])

    async def test_bytes_come_back_as_they_were_put(self, store: BlobStore) -> None:
        ref = await store.put(b"# Report\n", "text/markdown")
        assert (ref.sha256, ref.size) == (hashlib.sha256(b"# Report\n").hexdigest(), 9)
        assert ref.content_type == "text/markdown"
        assert await self.read(store, ref.uri) == b"# Report\n"

    async def test_a_file_comes_back_in_bounded_chunks(self, store: BlobStore, tmp_path: Path) -> None:
        file = tmp_path / "talk.wav"
        file.write_bytes(LARGE)
        ref = await store.put(file, "audio/wav")
        assert (ref.sha256, ref.size) == (hashlib.sha256(LARGE).hexdigest(), len(LARGE))
        chunks = [chunk async for chunk in store.open(ref.uri)]
        assert b"".join(chunks) == LARGE
        assert max(map(len, chunks)) <= MAX_CHUNK_BYTES

    async def test_large_bytes_come_back(self, store: BlobStore) -> None:
        ref = await store.put(LARGE, "application/octet-stream")
        assert await self.read(store, ref.uri) == LARGE

    async def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        ref = await store.put(b"", "text/plain")
        assert ref.size == 0
        assert await self.read(store, ref.uri) == b""

    async def test_equal_content_has_one_address(self, store: BlobStore, tmp_path: Path) -> None:
        file = tmp_path / "same"
        file.write_bytes(b"same")
        first = await store.put(b"same", "text/plain")
        assert await store.put(file, "text/plain") == first
        assert (await store.put(b"other", "text/plain")).uri != first.uri

    async def test_equal_content_may_be_put_at_the_same_time(self, store: BlobStore) -> None:
        refs = await asyncio.gather(*(store.put(LARGE[:300_000], "text/plain") for _ in range(4)))
        assert len(set(refs)) == 1
        assert await self.read(store, refs[0].uri) == LARGE[:300_000]

    async def test_what_is_not_there_is_reported_by_its_address(self, store: BlobStore, missing: str) -> None:
        with pytest.raises(BlobNotFound) as caught:
            await self.read(store, missing)
        assert missing in str(caught.value)

    async def test_a_reader_may_stop_in_the_middle(self, store: BlobStore) -> None:
        ref = await store.put(LARGE, "text/plain")
        async for _ in store.open(ref.uri):
            break
        assert await self.read(store, ref.uri) == LARGE


class MovingStoreContract:
    """Behaviour shared by all blob stores that can set content aside."""

    @pytest.fixture
    def store(self) -> MovingStore:
        """A ready store."""
        raise NotImplementedError

    @staticmethod
    async def there(store: MovingStore, uri: str) -> bytes | None:
        """What lies at an address."""
        try:
            return b"".join([chunk async for chunk in store.open(uri)])
        except BlobNotFound:
            return None

    async def test_content_moves_and_comes_back_and_twice_is_once(self, store: MovingStore) -> None:
        ref = await store.put(LARGE[:700_000], "text/plain")
        to = store.aside(ref.uri, "a1")
        await store.may_move(ref.uri, to)
        assert (await self.there(store, ref.uri), await self.there(store, to)) == (LARGE[:700_000], None)
        for source, target in ((ref.uri, to), (to, ref.uri)):
            for _ in range(2):
                await store.move(source, target)
                assert (await self.there(store, source), await self.there(store, target)) == (None, LARGE[:700_000])

    async def test_what_was_stored_again_meanwhile_is_as_good(self, store: MovingStore) -> None:
        ref = await store.put(b"words again", "text/plain")
        to = store.aside(ref.uri, "a2")
        await store.move(ref.uri, to)
        assert (await store.put(b"words again", "text/plain")).uri == ref.uri
        await store.move(to, ref.uri)
        assert (await self.there(store, ref.uri), await self.there(store, to)) == (b"words again", None)

    async def test_what_is_nowhere_cannot_be_moved(self, store: MovingStore) -> None:
        ref = await store.put(b"words", "text/plain")
        nowhere = f"{ref.uri[:-4]}0000"
        with pytest.raises(BlobNotFound):
            await store.move(nowhere, store.aside(nowhere, "a3"))
