"""What comes from outside the bus: files of this machine, and stores that are followed."""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pydantic import JsonValue

from stenobus_bus import Bus, Envelope, PermanentError, RetryableError, ServerUnavailable, apply
from stenobus_bus.envelope import derived_id
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Media, MediaUploaded, StoreNotified
from stenobus_core import CoreSettings
from stenobus_core.blobs import Blobs
from stenobus_core.file_store import file_uri
from stenobus_core.services import topology
from stenobus_core.session import connect

from .notifications import NotUnderstood, changes, decoded
from .place import document_id

log = structlog.get_logger(__name__)

_SOURCE: Final = "stenobus/ingest"
#: Seconds that one look at the queue waits for a message; SQS allows 20, but a stop has to wait as long.
_WAIT: Final = 10
#: Seconds a message is hidden from others while it is stored.
_HIDDEN: Final = 60


@asynccontextmanager
async def telling(settings: CoreSettings) -> AsyncIterator[Bus]:
    """A connection that may publish notifications; on a server of others it needs a producer's rights and no more."""
    async with connect(settings) as session:
        specs = topology(settings.bucket, settings.replicas)
        if session.server is None:
            specs = [spec for spec in specs if spec.name == domain_stream(StoreNotified.subject)]
        await apply(session.bus, specs)
        yield session.bus


async def publish(bus: Bus, notification: dict[str, Any], event_id: str | None = None) -> None:
    """Publish a notification; the same id twice is once. Raises ServerUnavailable."""
    event = StoreNotified.model_validate(notification)
    await bus.publish(event, Envelope.new(event, _SOURCE, id=event_id))


async def upload(bus: Bus, blobs: Blobs, path: Path, metadata: dict[str, JsonValue]) -> str:
    """Store a local file and publish it as a document. Returns its run.

    Raises:
        ServerUnavailable: the file cannot be stored.
    """
    ref = await blobs.put(path, mimetypes.guess_type(path.name)[0] or "application/octet-stream")
    media = Media(uri=ref.uri, name=path.name, sha256=ref.sha256, size=ref.size)
    address = file_uri(path)
    event = MediaUploaded(
        media=media, kind="document", metadata={"document_id": document_id(address), "url": address, **metadata}
    )
    envelope = Envelope.new(event, _SOURCE)
    await bus.publish(event, envelope)
    return envelope.run


async def follow_nats(bus: Bus, bucket: str) -> None:
    """Publish what lies in an object store, then what is put there and removed, for ever.

    What was told before is told again after a new start, under the same ids: nothing comes of it.

    Raises:
        ServerUnavailable: there is no such bucket, or it does not answer.
    """
    try:
        store = await bus.js.object_store(bucket)
        watcher = await store.watch()
    except NotFoundError as error:
        raise ServerUnavailable(f"There is no object store {bucket}; make it by `nats object add {bucket}`.") from error
    except NatsError as error:
        raise ServerUnavailable(f"The object store {bucket} does not answer ({type(error).__name__}).") from error
    try:
        while True:
            try:
                info = await watcher.updates(timeout=5.0)  # type: ignore[no-untyped-call]
            except TimeoutError:
                continue
            if info is None:
                log.info("ingest.caught_up", bucket=bucket)
                continue
            said = {
                "bucket": info.bucket,
                "name": info.name,
                "nuid": info.nuid,
                "digest": info.digest,
                "size": info.size,
                "deleted": bool(info.deleted),
            }
            event_id = derived_id("nats", info.bucket, info.name, info.nuid, said["deleted"])
            await publish(bus, {name: value for name, value in said.items() if value is not None}, event_id)
    finally:
        await watcher.stop()  # type: ignore[no-untyped-call]


async def follow_sqs(bus: Bus, queue: str, *, once: bool = False) -> int:
    """Publish the messages of a queue; each is deleted when its event is stored. Returns how many there were.

    A message that nothing is known about goes to the dead letters like any other event that cannot be handled, and
    leaves the queue.

    Args:
        once: end when the queue is empty.

    Raises:
        RetryableError: the queue cannot be reached.
        PermanentError: there is no such queue, or no right to read it; or boto3 is missing.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise PermanentError("SQS needs an extra: pip install 'stenobus-ingest[sqs]'.") from error
    count = 0
    try:
        client = Session().client(
            "sqs",
            region_name=os.environ.get("AWS_REGION"),
            config=Config(connect_timeout=5, read_timeout=_WAIT + 10, retries={"mode": "standard"}),
        )
        while True:
            answer = await asyncio.to_thread(
                client.receive_message,
                QueueUrl=queue,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0 if once else _WAIT,
                VisibilityTimeout=_HIDDEN,
            )
            messages = answer.get("Messages", [])
            for message in messages:
                await _take(bus, message)
                await asyncio.to_thread(client.delete_message, QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                count += 1
            if once and not messages:
                return count
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise PermanentError(f"SQS refuses {queue} ({code}): check the queue and its rights.") from error
    except BotoCoreError as error:
        raise RetryableError(f"{queue}: SQS cannot be reached ({type(error).__name__}); check AWS_….") from error


async def _take(bus: Bus, message: dict[str, Any]) -> None:
    try:
        if not changes(decoded(message["Body"].encode())):
            return  # S3 tests its notifications, or tells of something else
    except NotUnderstood as error:
        log.warning("ingest.not_understood", message=message["MessageId"], error=str(error))
    await publish(bus, {"Body": message["Body"]}, derived_id("sqs", message["MessageId"]))
