"""The store that fails on demand, in the hands of a host."""

from __future__ import annotations

import pytest

from stenobus_bus import RetryPolicy, ServerUnavailable
from stenobus_contracts import BlobRef
from stenobus_core import BlobStore, Context, Plugin
from stenobus_testing import BlobStoreContract, MemoryStore, Stage, eventually

from ...support.contracts import Ping, Pong


class TestMemoryStore(BlobStoreContract):
    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryStore()

    @pytest.fixture
    def missing(self) -> str:
        return "memory://nothing"


plugin = Plugin("reader")
REFS: list[BlobRef] = []


@plugin.handler(timeout=0.2, retry=RetryPolicy(attempts=2, base=0.01))
async def length(event: Ping, ctx: Context) -> Pong:
    return Pong(number=len(await ctx.read(REFS[-1])))


@pytest.fixture
async def ready(stage: Stage, memory_store: MemoryStore) -> BlobRef:
    """A host that reads a blob of three bytes from the store."""
    await stage.run(plugin, blob_store="memory")
    REFS.append(await memory_store.put(b"abc", "text/plain"))
    return REFS[-1]


async def outcome(stage: Stage) -> str:
    """What became of one event."""
    await stage.publish(Ping(number=1))
    found = await stage.run_until_idle()
    return found.letters[0].letter.message if found.letters else found.of(Pong)[0].data.decode()


async def test_a_host_reads_what_a_test_has_stored(stage: Stage, ready: BlobRef) -> None:
    assert await outcome(stage) == '{"number":3,"text":""}'


async def test_a_lost_blob_is_reported_by_its_address(stage: Stage, memory_store: MemoryStore, ready: BlobRef) -> None:
    memory_store.lose(ready)
    assert (await outcome(stage)).startswith(f"{ready.uri} does not exist")


async def test_a_damaged_blob_is_found_out(stage: Stage, memory_store: MemoryStore, ready: BlobRef) -> None:
    memory_store.corrupt(ready)
    assert "differs from the promised hash" in await outcome(stage)


async def test_a_store_that_refuses_once_is_asked_again(
    stage: Stage, memory_store: MemoryStore, ready: BlobRef
) -> None:
    memory_store.refuse(ServerUnavailable("The store is being moved."))
    assert '"number":3' in await outcome(stage)
    memory_store.refuse(ServerUnavailable("The store is being moved."), times=2)
    assert await outcome(stage) == "The store is being moved."


async def test_a_store_that_takes_for_ever_ends_by_the_handlers_timeout(
    stage: Stage, memory_store: MemoryStore, ready: BlobRef
) -> None:
    memory_store.hold()
    await stage.publish(Ping(number=1))
    await eventually(lambda: memory_store.waiting == 1)
    found = await stage.run_until_idle()
    assert found.letters[0].letter.message == "the handler took longer than its 0.2 s"
    memory_store.let_go()
    assert '"number":3' in await outcome(stage)
