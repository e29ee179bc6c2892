"""Blobs in S3, over HTTP."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import boto3
import pytest

from stenobus_core import BlobNotFound, BlobStore, CoreSettings, PermanentError, RetryableError
from stenobus_s3 import blob_store
from stenobus_s3.store import CHUNK_BYTES
from stenobus_testing.blob_store_contract import LARGE, BlobStoreContract

from ..support import aws

BUCKET = "recordings"


@pytest.fixture(scope="module", autouse=True)
def environment(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        aws.enter(environment, endpoint, STENOBUS_S3_BUCKET=BUCKET)
        yield


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    """The server, as somebody else sees it."""
    return boto3.resource(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


@pytest.fixture(scope="module")
def bucket(s3: Any) -> Any:
    """The store's bucket, as somebody else sees it."""
    bucket = s3.Bucket(BUCKET)
    bucket.create()
    return bucket


@pytest.fixture(scope="module")
def store(bucket: Any) -> Iterator[BlobStore]:
    store = blob_store(CoreSettings())
    yield store
    asyncio.run(store.close())


async def read(store: BlobStore, uri: str) -> bytes:
    return b"".join([chunk async for chunk in store.open(uri)])


class TestContract(BlobStoreContract):
    @pytest.fixture
    def store(self, store: BlobStore) -> BlobStore:
        return store

    @pytest.fixture
    def missing(self) -> str:
        return f"s3://{BUCKET}/stenobus/nothing-here"


# --- what lies in the bucket -----------------------------------------------------------------------------------------


async def test_a_blob_lies_under_the_prefix_by_its_hash(
    bucket: Any, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_S3_PREFIX", "/team/blobs")
    for each, prefix in ((store, "stenobus/"), (blob_store(CoreSettings()), "team/blobs/")):
        ref = await each.put(b"text", "text/plain")
        assert ref.uri == f"s3://{BUCKET}/{prefix}{ref.sha256}"
        kept = bucket.Object(f"{prefix}{ref.sha256}")
        assert (kept.content_type, kept.metadata) == ("text/plain", {"sha256": ref.sha256})


@pytest.mark.parametrize("data", [b"sent once", LARGE], ids=["small", "large"])
async def test_what_is_there_is_not_sent_again(bucket: Any, store: BlobStore, data: bytes) -> None:
    bucket.Versioning().enable()
    ref = await store.put(data, "text/plain")
    versions = len(list(bucket.object_versions.filter(Prefix=f"stenobus/{ref.sha256}")))
    await store.put(data, "text/plain")
    assert len(list(bucket.object_versions.filter(Prefix=f"stenobus/{ref.sha256}"))) == versions


@pytest.mark.parametrize("wrong", [b"", b"EVIL"], ids=["truncated", "foreign"])
async def test_something_else_under_the_key_is_replaced(bucket: Any, store: BlobStore, wrong: bytes) -> None:
    ref = await store.put(b"text", "text/plain")
    bucket.put_object(Key=f"stenobus/{ref.sha256}", Body=wrong)
    await store.put(b"text", "text/plain")
    assert await read(store, ref.uri) == b"text"


@pytest.mark.parametrize("key", ["plain.wav", "a folder/my talk #1?.wav", "año/録音.wav", "literal%20percent"])
async def test_any_object_of_any_bucket_can_be_read(s3: Any, store: BlobStore, key: str) -> None:
    elsewhere = s3.Bucket("elsewhere")
    elsewhere.create()
    elsewhere.put_object(Key=key, Body=b"sound")
    assert await read(store, f"s3://elsewhere/{key}") == b"sound"


async def test_chunks_are_small(store: BlobStore) -> None:
    ref = await store.put(LARGE, "audio/wav")
    assert {len(chunk) async for chunk in store.open(ref.uri)} <= {CHUNK_BYTES, len(LARGE) % CHUNK_BYTES}


# --- what can be wrong -----------------------------------------------------------------------------------------------


async def test_storing_needs_a_bucket_and_reading_does_not(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STENOBUS_S3_BUCKET")
    bucket.put_object(Key="talk", Body=b"sound")
    store = blob_store(CoreSettings())
    assert await read(store, f"s3://{BUCKET}/talk") == b"sound"
    with pytest.raises(PermanentError, match="set STENOBUS_S3_BUCKET"):
        await store.put(b"x", "text/plain")


async def test_a_missing_bucket_is_named(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match="s3://no-such-bucket/key: the bucket does not exist"):
        await read(store, "s3://no-such-bucket/key")
    monkeypatch.setenv("STENOBUS_S3_BUCKET", "no-such-bucket")
    with pytest.raises(PermanentError, match="bucket does not exist"):
        await blob_store(CoreSettings()).put(b"x", "text/plain")


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3:///key", "file:///key", "s3://UPPER case/key"])
async def test_what_is_no_address_is_refused(store: BlobStore, uri: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await read(store, uri)
    assert sentence(caught).startswith(uri)


async def test_missing_credentials_say_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = blob_store(CoreSettings())
    for use in (read(store, "s3://b-b/k"), store.put(b"x", "text/plain")):
        with pytest.raises(PermanentError) as caught:
            await use
        assert "AWS_ACCESS_KEY_ID" in sentence(caught)


@pytest.mark.parametrize(
    ("setting", "value"), [("AWS_ENDPOINT_URL", "nonsense"), ("AWS_PROFILE", "absent"), ("AWS_REGION", "no such")]
)
async def test_a_wrong_setting_is_permanent(monkeypatch: pytest.MonkeyPatch, setting: str, value: str) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(PermanentError) as caught:
        await read(blob_store(CoreSettings()), "s3://bucket/key")
    assert "set up wrongly" in sentence(caught)


async def test_an_endpoint_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("STENOBUS_S3_ATTEMPTS", "1")
    store = blob_store(CoreSettings())
    for use in (read(store, "s3://bucket/key"), store.put(b"x", "text/plain")):
        with pytest.raises(RetryableError) as caught:
            await use
        assert "cannot be reached" in sentence(caught)


class Answer(NamedTuple):
    """What a hostile endpoint says to every request."""

    status: int
    code: str = ""
    promised: int | None = None
    silence: float = 0.0


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """Puts an endpoint in place of S3 that gives one answer only."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(answer: Answer) -> None:
        body = f"<Error><Code>{answer.code}</Code><Message>No.</Message></Error>".encode() if answer.code else b"part"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(answer.silence)
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(body) if answer.promised is None else answer.promised))
                self.end_headers()
                with suppress(BrokenPipeError):  # the client had no patience
                    self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()  # seconds until it sees its end
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(403, "AccessDenied"), PermanentError, "s3:GetObject"),
        (Answer(403, "InvalidAccessKeyId"), PermanentError, "renew them"),
        (Answer(400, "ExpiredToken"), PermanentError, "renew them"),
        (Answer(404, "NoSuchKey"), BlobNotFound, "does not exist"),
        (Answer(503, "SlowDown"), RetryableError, "SlowDown"),
        (Answer(500), RetryableError, "500"),
        (Answer(418, "Teapot"), PermanentError, "Teapot"),
        (Answer(200, promised=1_000_000), RetryableError, "cannot be reached"),
        (Answer(200, silence=0.5), RetryableError, "cannot be reached"),
    ],
)
async def test_every_answer_becomes_one_sentence(
    hostile: Callable[[Answer], None],
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    error: type[Exception],
    said: str,
) -> None:
    hostile(answer)
    monkeypatch.setenv("STENOBUS_S3_READ_TIMEOUT", "0.2")
    monkeypatch.setenv("STENOBUS_S3_ATTEMPTS", "1")
    with pytest.raises(error) as caught:
        await read(blob_store(CoreSettings()), "s3://bucket/key")
    assert said in str(caught.value) and "s3://bucket/key" in str(caught.value) and "\n" not in str(caught.value)


def sentence(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


# --- named objects ---------------------------------------------------------------------------------------------------


async def test_a_prefix_is_listed_whole_page_by_page(bucket: Any, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"walked/{number:02d} ñ.txt" for number in range(7)]
    for key in keys:
        bucket.put_object(Key=key, Body=b"x")
    bucket.put_object(Key="walked-not/a.txt", Body=b"x")
    client = store._client()
    list_page = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **more: list_page(MaxKeys=3, **more))
    found = [entry async for entry in store.walk(f"s3://{BUCKET}/walked/")]
    assert [entry.uri for entry in found] == [f"s3://{BUCKET}/{key}" for key in keys]
    assert {entry.size for entry in found} == {1} and all(entry.version for entry in found)


async def test_what_is_removed_is_gone(bucket: Any, store: Any) -> None:
    bucket.put_object(Key="named/a ñ.txt", Body=b"x")
    bucket.put_object(Key="named/b.txt", Body=b"x")
    for _ in range(2):
        await store.remove(f"s3://{BUCKET}/named/a ñ.txt")
    assert [entry.uri async for entry in store.walk(f"s3://{BUCKET}/named/")] == [f"s3://{BUCKET}/named/b.txt"]


async def test_a_bucket_that_is_not_there_is_no_empty_prefix(store: Any) -> None:
    with pytest.raises(PermanentError, match="the bucket does not exist"):
        _ = [entry async for entry in store.walk("s3://no-such-bucket/walked/")]
