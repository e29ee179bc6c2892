"""The object bucket, and the claim check that rests on it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest

from stenobus_bus import BlobNotFound, Bus, PermanentError, Received, ServerUnavailable
from stenobus_bus.claim import THRESHOLD
from stenobus_bus.objects import ObjectBucket
from stenobus_contracts import BlobRef
from stenobus_core import BlobStore
from stenobus_testing.blob_store_contract import LARGE, BlobStoreContract
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping, Pong
from .conftest import Bench


class TestObjectBucket(BlobStoreContract):
    @pytest.fixture
    def store(self, bus: Bus) -> BlobStore:
        return bus.objects

    @pytest.fixture
    def missing(self) -> str:
        return f"nats://stenobus/{'0' * 64}"


async def content(bus: Bus, uri: str) -> bytes:
    return b"".join([chunk async for chunk in bus.objects.open(uri)])


@pytest.mark.parametrize(
    "uri", ["nats://nosuch/key", "nats://*/key", "nats://a b/key", "nats://stenobus/", "nats://stenobus", "file:///etc"]
)
async def test_an_address_without_an_object_is_not_found(bus: Bus, uri: str) -> None:
    with pytest.raises(BlobNotFound):
        await content(bus, uri)


async def test_the_nats_tools_read_what_is_stored(bus: Bus) -> None:
    ref = await bus.objects.put(b"# Report", "text/markdown")
    bucket = await bus.js.object_store("stenobus")
    found = await bucket.get(ref.sha256)
    assert found.data == b"# Report"
    assert found.info.headers == {"content-type": ["text/markdown"]}  # lists, or the tools written in Go refuse them


async def test_what_the_nats_tools_store_is_read(bus: Bus) -> None:
    bucket = await bus.js.object_store("stenobus")
    await bucket.put("talks/talk 1.txt", LARGE[:500_000])
    assert await content(bus, "nats://stenobus/talks/talk%201.txt") == LARGE[:500_000]


async def test_a_deleted_object_is_not_found(bus: Bus) -> None:
    ref = await bus.objects.put(b"gone", "text/plain")
    await (await bus.js.object_store("stenobus")).delete(ref.sha256)
    with pytest.raises(BlobNotFound):
        await content(bus, ref.uri)
    assert await bus.objects.put(b"gone", "text/plain") == ref
    assert await content(bus, ref.uri) == b"gone"


async def test_an_object_that_lost_chunks_is_not_found_instead_of_short(bus: Bus) -> None:
    ref = await bus.objects.put(LARGE[:500_000], "text/plain")
    meta = await bus.js.get_last_msg(
        "OBJ_stenobus", f"$O.stenobus.M.{base64.urlsafe_b64encode(ref.sha256.encode()).decode()}"
    )
    chunks = f"$O.stenobus.C.{json.loads(meta.data or b'')['nuid']}"
    first = await bus.js.get_msg("OBJ_stenobus", seq=1, subject=chunks, next=True)
    await bus.api("STREAM.MSG.DELETE.OBJ_stenobus", {"seq": first.seq})
    with pytest.raises(BlobNotFound):
        await content(bus, ref.uri)


async def test_an_outage_in_the_middle_is_no_missing_object(bus: Bus, server: Any) -> None:
    ref = await bus.objects.put(LARGE, "text/plain")
    async with await Bus.connect(server.url) as reader:
        with pytest.raises(ServerUnavailable):
            async for _ in reader.objects.open(ref.uri):
                await bus.api("STREAM.DELETE.OBJ_stenobus")


async def test_a_bucket_that_is_not_there_is_one_sentence(bus: Bus) -> None:
    with pytest.raises(ServerUnavailable, match="The object bucket nosuch does not answer"):
        await ObjectBucket(bus.nc, "nosuch", bus.acks).put(b"x", "text/plain")


# --- claim check -----------------------------------------------------------------------------------------------------


async def test_a_large_event_travels_by_reference_and_arrives_whole(bench: Bench) -> None:
    texts: list[str] = []

    async def handle(received: Received[Ping]) -> tuple[Pong]:
        texts.append(received.event.text)
        return (Pong(number=1, text=received.event.text * 2),)

    await bench.work(handle)
    text = "ü" * 2_000_000
    await bench.publish(Ping(number=1, text=text))
    (stored,) = await bench.stored(Ping)
    assert len(stored.data) < 1000
    await eventually(lambda: texts)
    assert texts == [text]
    (pong,) = await eventually(lambda: bench.stored(Pong))
    assert len(pong.data) < 1000
    assert json.loads(await bench.bus.claims.check_out(pong.data))["text"] == text * 2


async def test_what_fits_travels_by_itself(bench: Bench) -> None:
    await bench.publish(Ping(number=1, text="x" * (THRESHOLD - 100)))
    (stored,) = await bench.stored(Ping)
    assert len(stored.data) > THRESHOLD - 100
    assert "stenobus-claim" not in stored.headers


BODY = Ping(number=1, text="x" * 300_000).body()


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        ({"sha256": hashlib.sha256(b"other").hexdigest()}, "differs from its reference"),
        ({"size": len(BODY) - 1}, "differs from its reference"),
        ({"size": len(BODY) + 1}, "differs from its reference"),
        ({"size": 1 << 40}, "exceeds the limit"),
        ({"uri": f"nats://stenobus/{'0' * 64}"}, "does not exist"),
        ({"uri": "nats://nosuch/key"}, "does not exist"),
        ({"uri": "file:///etc/passwd"}, "does not exist"),
        ({"uri": "no address"}, "test.ping"),
    ],
    ids=["hash", "shorter", "longer", "huge", "missing", "no-bucket", "file", "malformed"],
)
async def test_a_claim_that_does_not_hold_is_buried(bench: Bench, claimed: dict[str, Any], message: str) -> None:
    async def handle(_: Received[Ping]) -> None:
        raise AssertionError("never called")

    ref: BlobRef = await bench.bus.objects.put(BODY, "application/json")
    reference = json.dumps({**ref.model_dump(), **claimed}).encode()
    await bench.work(handle)
    await bench.raw(reference, stenobus_claim="1")
    ((_, letter),) = await eventually(bench.letters)
    assert letter.reason == "invalid"
    assert message in letter.message
    assert letter.data == reference.decode()


async def test_a_large_event_that_fails_is_retried_from_its_dead_letter(bench: Bench) -> None:
    from stenobus_bus.retries import retry

    lengths: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        lengths.append(len(received.event.text))
        if len(lengths) == 1:
            raise PermanentError("x" * 600_000)  # the letter itself is large, too

    await bench.work(handle)
    await bench.publish(Ping(number=1, text="x" * 300_000))
    (entry,) = await eventually(bench.letters)
    assert len(entry.letter.message) == 600_000
    await retry(bench.bus, entry)
    await eventually(lambda: lengths == [300_000, 300_000])


async def test_readers_do_not_disturb_each_other(bus: Bus) -> None:
    refs = await asyncio.gather(*(bus.objects.put(LARGE[: 300_000 + n], "text/plain") for n in range(4)))
    found = await asyncio.gather(*(content(bus, ref.uri) for ref in refs))
    assert [hashlib.sha256(data).hexdigest() for data in found] == [ref.sha256 for ref in refs]
