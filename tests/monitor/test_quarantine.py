"""What is set aside, why, and how it comes back: with workers that really die, on a real server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from stenobus_bus import BlobNotFound
from stenobus_bus.retries import retry
from stenobus_bus.topology import domain_stream
from stenobus_contracts import BlobRef, Media, MediaUploaded
from stenobus_core.blobs import Blobs
from stenobus_core.runs import Step
from stenobus_monitor.actions.quarantine import Manifest, Quarantine
from stenobus_monitor.errors import ActionFailed
from stenobus_testing import Stage, eventually
from stenobus_testing.process import host_process
from stenobus_testing.waiting import DEADLINE

from ..support import aws
from .killer import plugin
from .remedial import action, failed, killed, now, opened, record

ROOT = Path(__file__).parents[2]


def upload(ref: BlobRef, **more: Any) -> MediaUploaded:
    return MediaUploaded(media=Media(uri=ref.uri, sha256=ref.sha256, size=ref.size), **more)


async def remedy(stage: Stage, **more: Any) -> Quarantine:
    store, runs = await opened(stage.bus)
    blobs = Blobs(stage.settings.model_copy(update=more), stage.bus)
    return Quarantine(stage.bus, blobs, runs, store, within=0.3)


async def dies(stage: Stage, event_id: str, times: int) -> None:
    """Let worker after worker die of an event."""
    for _ in range(times):
        async with host_process(plugin, "acme-read", stage.settings, ROOT) as process, asyncio.timeout(DEADLINE):
            await process.ended()
    step = await step_of(stage, event_id)
    assert step is not None and step.status == "running"


async def step_of(stage: Stage, event_id: str) -> Step | None:
    return next((each for each in await stage.steps() if each.event_id == event_id), None)


async def test_a_file_that_kills_its_workers_is_set_aside_and_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_DIES", "1")
    host = await stage.run(plugin)
    await host.stop(grace=0)  # its consumer is there now
    ref = await stage.put(b"poison")
    poison = await stage.publish(upload(ref))
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{poison.id}")

    await dies(stage, poison.id, 3)
    outlook = await quarantine.look(wanted)
    assert any("and 3 prove it" in each for each in outlook.obstacles)
    await dies(stage, poison.id, 1)
    _, runs = await opened(stage.bus)
    await record(runs, "acme-read", "well", "done", finished=now())
    outlook = await quarantine.look(wanted)
    assert outlook.obstacles == ()
    assert ref.uri in outlook.dry_run and "3 attempts failed, 3 of them with their process" in outlook.dry_run
    assert await stage.letters() == [] and await Blobs(stage.settings, stage.bus).read(ref) == b"poison"

    for _ in range(2):  # the second time as after a crash
        await quarantine.act(wanted, outlook.before)
        (entry,) = await stage.letters("acme-read")
        assert (entry.letter.reason, entry.letter.event_id) == ("terminated", poison.id)
        assert await stage.settled("acme-read", domain_stream("media.uploaded"))
        with pytest.raises(BlobNotFound):
            await Blobs(stage.settings, stage.bus).read(ref)
    step = await step_of(stage, poison.id)
    assert step is not None and (step.status, step.reason) == ("failed", "terminated")
    store, _ = await opened(stage.bus)
    manifest = Manifest.model_validate(await store.get("quarantine.a1"))
    assert manifest.content is not None and manifest.content.uri == ref.uri
    assert manifest.content.sha256 == ref.sha256 and manifest.status == "aside"
    assert ref.sha256[:12] in await quarantine.verify(wanted, outlook.before)
    async with host_process(plugin, "acme-read", stage.settings, ROOT) as process:  # a worker lives again
        later = await stage.publish(upload(await stage.put(b"more words")))
        await eventually(lambda: done(stage, later.id))
        await process.stop()

    for _ in range(2):
        assert f"dlq retry {entry.sequence}" in await quarantine.undo(wanted, outlook.before)
        assert await Blobs(stage.settings, stage.bus).read(ref) == b"poison"
    monkeypatch.delenv("ACME_DIES")
    await stage.run(plugin)
    await retry(stage.bus, entry)
    await eventually(lambda: done(stage, poison.id))
    assert await stage.letters() == []


async def done(stage: Stage, event_id: str) -> bool:
    return any(each.status == "done" for each in await stage.steps() if each.event_id == event_id)


async def stored(stage: Stage, content: bytes = b"poison", **more: Any) -> tuple[str, BlobRef]:
    """An event whose handler is told to fail with it by the record alone."""
    await opened(stage.bus)
    ref = await Blobs(stage.settings.model_copy(update=more), stage.bus).put(content, "text/plain")
    envelope = await stage.publish(upload(ref))
    return envelope.id, ref


async def proven(stage: Stage, event_id: str, status: str = "retrying", **more: Any) -> None:
    """A record that proves it."""
    _, runs = await opened(stage.bus)
    common = {"run": event_id, "subject": "media.uploaded", "stored": now()}
    tries = killed(1, 30), killed(2, 20), failed(3, 10)
    await record(runs, "acme-read", event_id, status, *tries, **common | more)
    await record(runs, "acme-read", "well", "done", finished=now())


@pytest.mark.parametrize(
    ("tries", "says"),
    [
        ((failed(1, 30), failed(2, 20), failed(3, 10)), "no other process"),
        ((killed(1, 30), failed(2, 20)), "failed 2 times"),
        ((failed(1, 30), failed(2, 20), killed(3, 10)), "no other process"),
        ((killed(1, 30), killed(1, 20), killed(2, 10)), "failed 2 times"),
    ],
)
async def test_what_proves_nothing(stage: Stage, tries: tuple[Any, ...], says: str) -> None:
    event_id, _ = await stored(stage)
    quarantine = await remedy(stage)
    await proven(stage, event_id)
    wanted = action("quarantine", f"event:acme-read/{event_id}")
    assert (await quarantine.look(wanted)).obstacles == ()
    await proven(stage, event_id, tries=tries)
    obstacles = (await quarantine.look(wanted)).obstacles
    assert any(says in each for each in obstacles), obstacles


async def test_where_nothing_else_goes_well_the_event_is_not_to_blame(stage: Stage) -> None:
    event_id, _ = await stored(stage)
    _, runs = await opened(stage.bus)
    tries = killed(1, 30), killed(2, 20), failed(3, 10)
    await record(runs, "acme-read", event_id, "retrying", *tries, run=event_id, subject="media.uploaded", stored=now())
    await record(runs, "acme-read", "before", "done", finished=killed(1, 60).started)
    outlook = await (await remedy(stage)).look(action("quarantine", f"acme-read/{event_id}"))
    assert any("no other event went well" in each for each in outlook.obstacles)


async def test_content_that_others_need_stays(stage: Stage) -> None:
    event_id, ref = await stored(stage)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{event_id}")
    await proven(stage, event_id)
    _, runs = await opened(stage.bus)
    other = await record(runs, "acme-other", event_id, "running", run=event_id)
    outlook = await quarantine.look(wanted)
    assert outlook.obstacles == () and "acme-other works on the same run" in outlook.dry_run
    await quarantine.act(wanted, outlook.before)
    assert await Blobs(stage.settings, stage.bus).read(ref) == b"poison"
    await runs.put(other.model_copy(update={"status": "done"}))
    again = await stage.publish(upload(ref, title="the same file"))
    await record(runs, "acme-read", again.id, "done", finished=now())
    await proven(stage, event_id)
    assert f"event {again.id} went well with it" in (await quarantine.look(wanted)).dry_run


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that speaks S3's protocol, with a bucket for blobs and one of a producer."""
    with aws.endpoint() as url:
        places = {"STENOBUS_S3_BUCKET": "own", "STENOBUS_S3_MOVABLE": "s3://uploads/in/"}
        for name, value in (aws.environment(url) | places).items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", region_name=aws.REGION)
        for each in ("own", "uploads"):
            client.create_bucket(Bucket=each)
        yield client


@pytest.mark.parametrize("uri", ["s3://uploads/in/talk 1.wav", "s3://own/stenobus/talk.wav"])
async def test_an_object_in_s3_is_set_aside_and_comes_back(stage: Stage, bucket: Any, uri: str) -> None:
    where, _, key = uri.removeprefix("s3://").partition("/")
    bucket.put_object(Bucket=where, Key=key, Body=b"poison")
    await opened(stage.bus)
    envelope = await stage.publish(MediaUploaded(media=Media(uri=uri)))
    await proven(stage, envelope.id)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{envelope.id}")
    outlook = await quarantine.look(wanted)
    aside = f"stenobus/quarantine/a1/{key.rpartition('/')[2]}"
    assert outlook.obstacles == () and f"move {uri} to s3://own/{aside}" in outlook.dry_run
    assert [found["Key"] for found in bucket.list_objects_v2(Bucket=where)["Contents"]] == [key]

    for _ in range(2):  # the second time as after a crash
        assert f"its content lies at s3://own/{aside}" in await quarantine.act(wanted, outlook.before)
        assert "Contents" not in bucket.list_objects_v2(Bucket=where, Prefix=key)
        assert "has the SHA-256" in await quarantine.verify(wanted, outlook.before)
    manifest = json.loads(bucket.get_object(Bucket="own", Key=f"{aside}.manifest.json")["Body"].read())
    assert (manifest["content"]["uri"], manifest["status"]) == (uri, "aside")

    bucket.put_object(Bucket=where, Key=key, Body=b"a better one")
    with pytest.raises(ActionFailed, match="Something else lies at"):
        await quarantine.undo(wanted, outlook.before)
    assert bucket.get_object(Bucket=where, Key=key)["Body"].read() == b"a better one"
    bucket.delete_object(Bucket=where, Key=key)
    for _ in range(2):
        assert f"the content is back at {uri}" in await quarantine.undo(wanted, outlook.before)
        assert bucket.get_object(Bucket=where, Key=key)["Body"].read() == b"poison"
    manifest = json.loads(bucket.get_object(Bucket="own", Key=f"{aside}.manifest.json")["Body"].read())
    assert manifest["status"] == "restored"


async def test_an_object_that_changed_since_the_look_stays(stage: Stage, bucket: Any) -> None:
    bucket.put_object(Bucket="uploads", Key="in/a.wav", Body=b"poison")
    await opened(stage.bus)
    envelope = await stage.publish(MediaUploaded(media=Media(uri="s3://uploads/in/a.wav")))
    await proven(stage, envelope.id)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{envelope.id}")
    outlook = await quarantine.look(wanted)
    bucket.put_object(Bucket="uploads", Key="in/a.wav", Body=b"a better one")
    with pytest.raises(ActionFailed, match="not what it was when somebody looked"):
        await quarantine.act(wanted, outlook.before)
    assert bucket.get_object(Bucket="uploads", Key="in/a.wav")["Body"].read() == b"a better one"


async def test_without_the_rights_an_object_stays_and_people_know_it_before(
    stage: Stage, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("in/a.wav", "elsewhere/a.wav"):
        bucket.put_object(Bucket="uploads", Key=key, Body=b"poison")
    await opened(stage.bus)
    iam = boto3.client("iam", region_name=aws.REGION)
    name = f"monitor-{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    reads = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [reads]})
    iam.put_user_policy(UserName=name, PolicyName="reads", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    url = bucket.meta.endpoint_url
    aws.guarded(url)
    try:
        for place, says in (
            ("in", "moving takes s3:PutObject and s3:DeleteObject"),
            ("elsewhere", "the folders of STENOBUS_S3_MOVABLE"),
        ):
            envelope = await stage.publish(MediaUploaded(media=Media(uri=f"s3://uploads/{place}/a.wav")))
            await proven(stage, envelope.id)
            quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{envelope.id}")
            outlook = await quarantine.look(wanted)
            assert outlook.obstacles == (), "the event can be set aside all the same"
            assert "its content stays" in outlook.dry_run and says in outlook.dry_run
    finally:
        aws.unguarded(url)


async def test_files_carry_their_manifest_with_them(stage: Stage) -> None:
    event_id, ref = await stored(stage, blob_store="file")
    await proven(stage, event_id)
    quarantine, wanted = await remedy(stage, blob_store="file"), action("quarantine", f"acme-read/{event_id}")
    outlook = await quarantine.look(wanted)
    assert outlook.obstacles == ()
    await quarantine.act(wanted, outlook.before)
    folder = stage.settings.data_dir / "blobs" / "quarantine" / "a1"
    assert (folder / ref.sha256).read_bytes() == b"poison"
    manifest = json.loads((folder / f"{ref.sha256}.manifest.json").read_text())
    assert (manifest["content"]["sha256"], manifest["event"]["event_id"]) == (ref.sha256, event_id)
    (folder / ref.sha256).write_bytes(b"exchanged")
    with pytest.raises(ActionFailed, match="not what was moved"):
        await quarantine.verify(wanted, outlook.before)
    with pytest.raises(ActionFailed, match="it stays there"):
        await quarantine.undo(wanted, outlook.before)
    assert not (stage.settings.data_dir / "blobs" / ref.sha256).exists()
    (folder / ref.sha256).write_bytes(b"poison")
    await quarantine.undo(wanted, outlook.before)
    assert json.loads((folder / f"{ref.sha256}.manifest.json").read_text())["status"] == "restored"


async def test_a_file_of_somebody_elses_stays_where_it_is(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "mine.wav").write_bytes(b"mine")
    await opened(stage.bus)
    envelope = await stage.publish(MediaUploaded(media=Media(uri=f"file://{tmp_path}/mine.wav")))
    await proven(stage, envelope.id)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{envelope.id}")
    outlook = await quarantine.look(wanted)
    assert outlook.obstacles == () and "its content stays" in outlook.dry_run
    await quarantine.act(wanted, outlook.before)
    assert len(await stage.letters()) == 1
    assert (tmp_path / "mine.wav").read_bytes() == b"mine"


async def test_what_was_handled_meanwhile_is_left_alone(stage: Stage) -> None:
    event_id, ref = await stored(stage)
    await proven(stage, event_id)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{event_id}")
    outlook = await quarantine.look(wanted)
    await proven(stage, event_id, status="done", finished=now())
    assert any("handled after all" in each for each in (await quarantine.look(wanted)).obstacles)
    with pytest.raises(ActionFailed, match="handled after all"):
        await quarantine.act(wanted, outlook.before)
    assert await stage.letters() == [] and await Blobs(stage.settings, stage.bus).read(ref) == b"poison"


async def test_what_a_surviving_worker_does_while_it_is_set_aside_counts(stage: Stage) -> None:
    event_id, _ = await stored(stage)
    await proven(stage, event_id)
    quarantine, wanted = await remedy(stage), action("quarantine", f"acme-read/{event_id}")
    outlook = await quarantine.look(wanted)
    await quarantine.act(wanted, outlook.before)
    assert len(await stage.letters()) == 1
    await proven(stage, event_id, status="done", finished=now())
    with pytest.raises(ActionFailed, match="its dead letter is removed"):
        await quarantine.verify(wanted, outlook.before)
    assert await stage.letters() == []


@pytest.mark.parametrize(
    "target",
    [
        "blob:file:///etc/passwd",
        "blob:http://[",
        f"blob:file:///etc/{'0' * 64}",
        f"blob:nats://*/{'0' * 64}",
        f"blob:file:///data/../{'0' * 64}",
        "acme-read/none",
        "*/e",
        "",
        "acme-read",
    ],
)
async def test_hostile_and_unknown_targets(stage: Stage, target: str) -> None:
    outlook = await (await remedy(stage)).look(action("quarantine", target))
    assert outlook.obstacles and outlook.before is None
