"""What stores tell, in their own words, and what comes of it: once per object and version."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from click.testing import CliRunner

from stenobus_contracts import KbSync, MediaUploaded, StoreNotified
from stenobus_ingest import plugin
from stenobus_ingest.followers import follow_nats, follow_sqs
from stenobus_ingest.notifications import Change, NotUnderstood, changes, decoded, later
from stenobus_ingest.notified import decide
from stenobus_kb import plugin as kb
from stenobus_kb.search_command import search
from stenobus_testing import Stage
from stenobus_testing.waiting import eventually

from ..support import aws
from .conftest import WORD, docx


def s3(key: str = "a+b%2Fc.pdf", name: str = "ObjectCreated:Put", **thing: Any) -> dict[str, Any]:
    """A record as S3 writes it."""
    facts = {"key": key, "size": 3, "eTag": "e1", "sequencer": "0055AED6DCD90281E5", **thing}
    record = {"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": "docs"}, "object": facts}}
    return {"Records": [record]}


BRIDGE = {
    "version": "0",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {
        "bucket": {"name": "docs"},
        "object": {"key": "a+b/c.pdf", "size": 3, "etag": "e1", "version-id": "v1", "sequencer": "00AB"},
    },
}
SNS = {"Type": "Notification", "MessageId": "1", "Message": json.dumps(s3())}
EXPECTED = Change("s3", "docs", "a b/c.pdf", True, "e1", False, "0055AED6DCD90281E5")


@pytest.mark.parametrize(
    "said",
    [
        s3(),
        s3(name="s3:ObjectCreated:CompleteMultipartUpload"),
        SNS,
        {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": json.dumps(s3())}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": json.dumps(SNS)}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(s3())}}]},
        {"Messages": [{"MessageId": "1", "Body": json.dumps(s3())}]},
        {"detail-type": "Acme", "source": "acme", "detail": s3()},
    ],
)
def test_wrapped_or_not_a_notification_of_s3_says_the_same(said: dict[str, Any]) -> None:
    assert changes(said) == [EXPECTED]


def test_event_bridge_writes_keys_as_they_are() -> None:
    assert changes(BRIDGE) == [Change("s3", "docs", "a+b/c.pdf", True, "v1", False, "00AB")]
    assert changes(BRIDGE)[0].uri == "s3://docs/a+b/c.pdf"


def test_an_entry_of_a_nats_object_store_is_known() -> None:
    entry = {"bucket": "docs", "name": "a b.pdf", "nuid": "n1", "digest": "SHA-256=x", "size": 3, "chunks": 1}
    [change] = changes(entry)
    assert (change.uri, change.made, change.version) == ("nats://docs/a%20b.pdf", True, "SHA-256=x")
    assert changes({**entry, "deleted": True})[0].made is False


def test_tests_of_s3_and_what_leaves_the_content_alone_tell_nothing() -> None:
    assert changes({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "docs"}) == []
    assert changes(s3(name="ObjectTagging:Put")) == changes(s3(name="ObjectRestore:Completed")) == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Records": ["x"]},
        {"Records": [{"eventSource": "aws:kinesis"}]},
        {"Records": [{"s3": {}, "eventName": "ObjectCreated:Put"}]},
        {"body": "no json"},
        {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://example.org"},
        s3(key=""),
    ],
)
def test_what_is_not_understood_is_said(said: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood):
        changes(said)


def test_wrappers_around_wrappers_have_an_end() -> None:
    said: dict[str, Any] = s3()
    for _ in range(20):
        said = {"body": json.dumps(said)}
    with pytest.raises(NotUnderstood):
        changes(said)
    with pytest.raises(NotUnderstood):
        decoded(b"[" * 100_000)


def test_sequencers_are_compared_as_s3_documents_it() -> None:
    assert later("0055B", "0055A") and later("0055A1", "0055A") and not later("0055A", "0055A1")
    assert later("1", "0F") and later(None, "1") is None and later("1", None) is None


def test_whatever_order_changes_come_in_the_last_one_counts() -> None:
    rng = random.Random(7)
    history = [
        Change("s3", "b", "k", True, "e1", False, "01"),
        Change("s3", "b", "k", True, "e2", False, "02"),
        Change("s3", "b", "k", False, None, False, "03"),
        Change("s3", "b", "k", True, "e1", False, "04"),
    ]
    for _ in range(200):
        told = [change for change in history for _ in range(rng.randrange(1, 3))]
        rng.shuffle(told)
        known: dict[str, Any] = {}
        outcomes = []
        for number, change in enumerate(told):
            known, outcome = decide(change, known, str(number))
            outcomes.append((outcome, change))
        assert (known["made"], known["version"]) == (True, "e1")
        took = [change.sequencer for outcome, change in outcomes if outcome in {"made", "removed"}]
        assert took == sorted(set(took)), "each change at most once, and never backwards"


def test_removing_an_old_version_for_good_leaves_the_document() -> None:
    known = {"version": "v2", "made": True, "sequencer": "02", "pipeline": 1, "by": "x"}
    old = Change("s3", "b", "k", False, "v1", True, "03")
    assert decide(old, known, "y")[1] == "kept" and decide(old, {}, "y")[1] == "kept"
    assert decide(Change("s3", "b", "k", False, "v2", True, "03"), known, "y")[1] == "removed"


async def notify(stage: Stage, said: dict[str, Any]) -> None:
    await stage.publish(StoreNotified.model_validate(said))


async def test_an_object_is_an_upload_once_and_gone_when_it_is_removed(stage: Stage) -> None:
    await stage.run(plugin)
    await notify(stage, s3(key="x/talk.wav"))
    await notify(stage, {"body": json.dumps(s3(key="x/talk.wav"))})  # the same by another way
    outcome = await stage.run_until_idle()
    [upload] = outcome.of(MediaUploaded)
    media = MediaUploaded.model_validate_json(upload.data)
    assert (media.media.uri, media.media.name, media.metadata["version"]) == ("s3://docs/x/talk.wav", "talk.wav", "e1")

    await notify(stage, s3(key="x/talk.wav", name="ObjectRemoved:Delete", sequencer="0055AED6DCD90281E6"))
    await notify(stage, s3(key="x/talk.wav", eTag="e0", sequencer="0055AED6DCD90281E4"))  # a late one
    outcome = await stage.run_until_idle()
    [sync] = [KbSync.model_validate_json(each.data) for each in outcome.of(KbSync)]
    assert sync.delete == ("s3://docs/x/talk.wav",) and outcome.of(MediaUploaded) == []


async def test_what_stenobus_stores_itself_and_folders_are_no_uploads(stage: Stage) -> None:
    await stage.run(plugin)
    for key in ("stenobus/" + "0a" * 32, "folder/"):
        await notify(stage, s3(key=key))
    outcome = await stage.run_until_idle()
    assert outcome.of(MediaUploaded) == [] and outcome.letters == ()


async def test_a_notification_of_no_known_shape_is_a_dead_letter(stage: Stage) -> None:
    await stage.run(plugin)
    await notify(stage, {"hello": "world"})
    [entry] = (await stage.run_until_idle()).letters
    assert entry.letter.reason == "permanent" and "none that is known" in entry.letter.message


async def test_an_upload_whose_object_was_removed_meanwhile_is_left_alone(stage: Stage) -> None:
    """Two events on their way at the same time: the document must not come back after its removal."""
    await stage.run(plugin)
    await notify(stage, s3(key="gone.pdf", name="ObjectRemoved:Delete", sequencer="02"))
    facts = {"store": "s3", "bucket": "docs", "key": "gone.pdf", "version": "e1"}
    await stage.run_until_idle()
    await stage.publish(MediaUploaded.model_validate({"media": {"uri": "s3://docs/gone.pdf"}, "metadata": facts}))
    outcome = await stage.run_until_idle()
    assert outcome.letters == () and outcome.of(KbSync) == []


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, str]]:
    """A bucket whose notifications go to a queue."""
    with aws.endpoint() as url:
        for name, value in aws.environment(url).items():
            monkeypatch.setenv(name, value)
        session = Session(region_name=aws.REGION)
        bucket, queues = session.client("s3"), session.client("sqs")
        bucket.create_bucket(Bucket="docs")
        queue = queues.create_queue(QueueName="told")["QueueUrl"]
        arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        bucket.put_bucket_notification_configuration(
            Bucket="docs",
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
            },
        )
        yield bucket, queues, queue


async def test_a_queue_of_s3_is_followed(stage: Stage, sqs: tuple[Any, Any, str]) -> None:
    bucket, queues, queue = sqs
    await stage.run(plugin)
    await asyncio.to_thread(bucket.put_object, Bucket="docs", Key="a ñ+b.wav", Body=b"RIFF")
    await asyncio.to_thread(bucket.delete_object, Bucket="docs", Key="a ñ+b.wav")
    assert await follow_sqs(stage.bus, queue, once=True) >= 2
    outcome = await stage.run_until_idle()
    assert outcome.letters == ()
    assert MediaUploaded.model_validate_json(outcome.of(MediaUploaded)[0].data).media.uri == "s3://docs/a ñ+b.wav"
    assert KbSync.model_validate_json(outcome.of(KbSync)[0].data).delete == ("s3://docs/a ñ+b.wav",)
    left = await asyncio.to_thread(queues.get_queue_attributes, QueueUrl=queue, AttributeNames=["All"])
    assert left["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert left["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


async def test_from_a_bucket_to_a_hit_and_out_again(
    stage: Stage, sqs: tuple[Any, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, with nothing of it in the shape of a test: S3's event, its queue, its object, the index."""
    bucket, _, queue = sqs
    asked = [WORD, "--collection", "hr", "--json"]
    monkeypatch.setenv("STENOBUS_KB_PATH", str(tmp_path / "kb.sqlite"))
    monkeypatch.setenv("STENOBUS_INGEST_COLLECTIONS", '{"s3://docs/hr/": "hr"}')
    await stage.run(plugin, kb)

    async def told(call: Callable[..., Any], **facts: Any) -> None:
        await asyncio.to_thread(call, Bucket="docs", Key="hr/plan b.docx", **facts)
        await follow_sqs(stage.bus, queue, once=True)
        assert (await stage.run_until_idle()).letters == ()

    await told(bucket.put_object, Body=docx())
    found = await asyncio.to_thread(CliRunner().invoke, search, asked)
    assert json.loads(found.output)["results"][0]["document"] == "s3://docs/hr/plan b.docx"
    await told(bucket.delete_object)
    gone = await asyncio.to_thread(CliRunner().invoke, search, asked)
    assert gone.exit_code == 1 and "Nothing in the collection hr" in gone.output


async def test_an_object_store_of_nats_is_followed(stage: Stage) -> None:
    await stage.run(plugin)
    store = await stage.bus.js.create_object_store("inbox")
    await store.put("handbook/a b.md", b"# A\n\nThe wombat sleeps.")
    following = asyncio.create_task(follow_nats(stage.bus, "inbox"))
    try:
        await eventually(lambda: _syncs(stage, 1))
        await store.delete("handbook/a b.md")
        await eventually(lambda: _syncs(stage, 2))
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
    added, removed = await _read(stage)
    assert added.upsert[0].id == "nats://inbox/handbook/a%20b.md" and added.upsert[0].title == "A"
    assert removed.delete == (added.upsert[0].id,)


async def _read(stage: Stage) -> list[KbSync]:
    return [KbSync.model_validate_json(each.data) for each in await stage.stored(KbSync)]


async def _syncs(stage: Stage, count: int) -> bool:
    return len(await _read(stage)) == count
