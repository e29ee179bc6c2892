"""Objects that are set aside in S3, and come back: over HTTP, with a death between any two requests."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from stenobus_core import BlobNotFound, CoreSettings, PermanentError, RetryableError
from stenobus_core.blob_stores import MovingStore
from stenobus_s3 import blob_store, moving
from stenobus_testing import MovingStoreContract
from stenobus_testing.blob_store_contract import LARGE

from ..support import aws

BUCKET, UPLOADS = "own", "uploads"
URI = f"s3://{UPLOADS}/in/2026/disk full.mp4"
KEPT = {"ContentType": "video/mp4", "CacheControl": "no-cache", "Metadata": {"by": "ana"}}


@pytest.fixture(scope="module", autouse=True)
def environment(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        places = f"s3://{UPLOADS}/in/, s3://{UPLOADS}/more"
        aws.enter(environment, endpoint, STENOBUS_S3_BUCKET=BUCKET, STENOBUS_S3_MOVABLE=places)
        yield


@pytest.fixture(scope="module")
def s3(environment: None) -> Any:
    """The server, as somebody else sees it."""
    client = boto3.client("s3", region_name=aws.REGION)
    for bucket in (BUCKET, UPLOADS):
        client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture
def store(s3: Any) -> Iterator[Any]:
    store = blob_store(CoreSettings())
    yield store
    asyncio.run(store.close())


class TestContract(MovingStoreContract):
    @pytest.fixture
    def store(self, store: MovingStore) -> MovingStore:
        return store


def upload(s3: Any, data: bytes, uri: str = URI) -> str:
    """An object of a producer's; nothing is set aside."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3.put_object(Bucket=bucket, Key=key, Body=data, **KEPT)
    for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    return uri


there = MovingStoreContract.there


@pytest.mark.parametrize("at_once", [2**30, 5 * 2**20], ids=["whole", "in parts"])
async def test_a_producers_object_goes_to_the_own_bucket_and_comes_back_as_it_was(
    s3: Any, store: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_AT_ONCE", at_once)
    upload(s3, LARGE)
    to = store.aside(URI, "a1")
    assert to == f"s3://{BUCKET}/stenobus/quarantine/a1/disk full.mp4"
    await store.move(URI, to)
    assert (await there(store, URI), await there(store, to)) == (None, LARGE)
    await store.move(to, URI)
    assert (await there(store, URI), await there(store, to)) == (LARGE, None)
    head = s3.head_object(Bucket=UPLOADS, Key="in/2026/disk full.mp4")
    assert {name: head[name] for name in KEPT} == KEPT


class Killed(BaseException):
    """The process ends here."""


async def moves_until(request: int, when: str, source: str, target: str) -> bool:
    """Whether a process that dies around one of its requests, counted from 0, ended its work before."""
    mortal: Any = blob_store(CoreSettings())
    seen = 0

    def die(**_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == request + 1:
            raise Killed

    mortal._client().meta.events.register(f"{when}.s3", die)
    try:
        await mortal.move(source, target)
    except Killed:
        return False
    finally:
        await mortal.close()
    return True


@pytest.mark.parametrize("when", ["before-send", "after-call"])
async def test_a_death_between_any_two_requests_leaves_it_whole_and_again_ends_it(
    s3: Any, store: Any, when: str
) -> None:
    upload(s3, LARGE)
    to, request = store.aside(URI, "a1"), 0
    while not await moves_until(request, when, URI, to):
        assert LARGE in {await there(store, URI), await there(store, to)}
        await store.move(URI, to)
        assert (await there(store, URI), await there(store, to)) == (None, LARGE)
        await store.move(to, URI)
        assert (await there(store, URI), await there(store, to)) == (LARGE, None)
        request += 1
    assert request >= 8, "two looks, two hashes, a look and a copy, a look, a removal"


async def test_a_copy_that_is_not_the_original_is_no_copy(s3: Any, store: Any) -> None:
    upload(s3, b"sound")
    to = store.aside(URI, "a1")

    def spoil(**_: Any) -> None:
        s3.put_object(Bucket=BUCKET, Key="stenobus/quarantine/a1/disk full.mp4", Body=b"noise")

    store._client().meta.events.register("after-call.s3.CopyObject", spoil)
    with pytest.raises(RetryableError, match="the copy is not what lies at"):
        await store.move(URI, to)
    assert await there(store, URI) == b"sound"
    with pytest.raises(PermanentError, match="something else lies there"):
        await blob_store(CoreSettings()).move(URI, to)  # type: ignore[attr-defined]
    assert await there(store, URI) == b"sound"


async def test_what_changes_while_it_is_copied_stays(s3: Any, store: Any) -> None:
    upload(s3, b"sound")

    def change(**_: Any) -> None:
        s3.put_object(Bucket=UPLOADS, Key="in/2026/disk full.mp4", Body=b"a better one")

    store._client().meta.events.register("after-call.s3.CopyObject", change)
    with pytest.raises(PermanentError, match="it changed while it was copied"):
        await store.move(URI, store.aside(URI, "a1"))
    assert await there(store, URI) == b"a better one"


@pytest.mark.parametrize(
    "uri", [f"s3://{UPLOADS}/outside/a", f"s3://{UPLOADS}/morello/a", "s3://own-not/stenobus/a", f"s3://{BUCKET}/a"]
)
async def test_what_nobody_gave_away_stays(s3: Any, store: Any, uri: str) -> None:
    to = f"s3://{BUCKET}/stenobus/quarantine/a1/a"
    with pytest.raises(PermanentError, match="STENOBUS_S3_MOVABLE"):
        store.aside(uri, "a1")
    for use in (store.may_move(uri, to), store.move(uri, to), store.move(to, uri)):
        with pytest.raises(PermanentError, match="STENOBUS_S3_MOVABLE"):
            await use


async def test_without_a_bucket_of_its_own_nothing_is_set_aside(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STENOBUS_S3_BUCKET")
    with pytest.raises(PermanentError, match="set STENOBUS_S3_BUCKET"):
        blob_store(CoreSettings()).aside(URI, "a1")  # type: ignore[attr-defined]


@pytest.mark.parametrize("places", ["uploads/in", "s3:///in"])
def test_a_folder_that_is_none_is_refused(places: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_S3_MOVABLE", places)
    with pytest.raises(Exception, match="is no folder"):
        blob_store(CoreSettings())


@pytest.fixture
def user(s3: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, list[str]]], Any]]:
    """Stores of users who may do some things only: the server checks signatures and policies meanwhile."""
    iam = boto3.client("iam", region_name=aws.REGION)

    def with_rights(rights: dict[str, list[str]]) -> Any:
        aws.unguarded(endpoint)
        name = f"user-{uuid.uuid4().hex}"
        iam.create_user(UserName=name)
        statements = [
            {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{place}"}
            for place, actions in rights.items()
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        aws.guarded(endpoint)
        return blob_store(CoreSettings())

    yield with_rights
    aws.unguarded(endpoint)


ALL = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]


async def test_who_has_the_rights_learns_it_and_nothing_is_left_of_the_question(
    s3: Any, endpoint: str, user: Callable[[dict[str, list[str]]], Any]
) -> None:
    upload(s3, b"sound")
    store = user({f"{BUCKET}/stenobus/*": ALL, f"{UPLOADS}/in/*": ALL})
    to = store.aside(URI, "a1")
    await store.may_move(URI, to)
    aws.unguarded(endpoint)
    assert await there(store, URI) == b"sound"
    for bucket in (BUCKET, UPLOADS):
        assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


async def test_where_the_bucket_keeps_versions_no_marker_of_the_question_is_left(s3: Any, store: Any) -> None:
    """Of a name that never was S3 keeps a marker too; the server of these tests does not, so its answer is changed."""
    upload(s3, b"sound")
    asked: list[dict[str, Any]] = []
    events = store._client().meta.events
    events.register("provide-client-params.s3.DeleteObject", lambda params, **_: asked.append(dict(params)))
    marker = {"DeleteMarker": True, "VersionId": "v1"}
    events.register("after-call.s3.DeleteObject", lambda parsed, **_: parsed.update(marker))
    await store.may_move(URI, store.aside(URI, "a1"))
    assert [params.get("VersionId") for params in asked] == [None, "v1", None, "v1"]
    assert all(params["Key"].endswith(".stenobus-probe") for params in asked)


@pytest.mark.parametrize(
    ("own", "uploads", "says"),
    [
        (["s3:GetObject"], ALL, f"s3://{BUCKET}/"),
        ([each for each in ALL if each != "s3:DeleteObject"], ALL, f"s3://{BUCKET}/"),
        ([each for each in ALL if each != "s3:PutObject"], ALL, f"s3://{BUCKET}/"),
        (ALL, ["s3:GetObject"], f"s3://{UPLOADS}/"),
        (ALL, [each for each in ALL if each != "s3:PutObject"], f"s3://{UPLOADS}/"),
        (ALL, [each for each in ALL if each != "s3:DeleteObject"], f"s3://{UPLOADS}/"),
    ],
)
async def test_who_lacks_a_right_hears_which_before_anything_moves(
    s3: Any, user: Callable[[dict[str, list[str]]], Any], own: list[str], uploads: list[str], says: str
) -> None:
    upload(s3, b"sound")
    store = user({f"{BUCKET}/stenobus/*": own, f"{UPLOADS}/in/*": uploads})
    with pytest.raises(PermanentError, match="s3:PutObject and s3:DeleteObject") as caught:
        await store.may_move(URI, store.aside(URI, "a1"))
    assert says in str(caught.value)


def test_nothing_of_a_missing_object(store: Any) -> None:
    with pytest.raises(BlobNotFound):
        asyncio.run(store.move(f"s3://{UPLOADS}/in/none", f"s3://{BUCKET}/stenobus/quarantine/a/none"))
