"""What AWS hands a function: the classic job event, alone or inside a notification."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote_plus

from stenobus_bus.envelope import derived_id

from .job import TRANSCRIPTS, JobError, slug

#: Notifications inside notifications: an S3 event in an SQS message in an EventBridge event.
_DEPTH: Final = 4
_KNOWN: Final = (
    "the classic job event (execution_id, video_s3_uri or transcription_s3_uri), alone or as an SQS message, an "
    "EventBridge event's detail, or a notification of S3"
)


class Nothing(Exception):
    """There is no job in the event, and nobody meant one: its text says why."""


def job_event(event: Any, results: str | None = None) -> dict[str, Any]:
    """The classic job event.

    An object of S3 becomes a job of its own: a transcript or a recording, by its name. Its execution id follows from
    the object and its version, so that a notification that comes twice means the same job.

    Args:
        event: as AWS decoded it from JSON.
        results: the bucket of results; what appears there is no job.

    Raises:
        Nothing: S3 tests its notifications, or tells of something else than a new object, or of a result.
        JobError: the event has none of these shapes, or holds several jobs.
    """
    for _ in range(_DEPTH):
        if not isinstance(event, dict):
            break
        if "execution_id" in event:
            return event
        if event.get("Event") == "s3:TestEvent":
            raise Nothing("S3 tests its notifications.")
        if event.get("source") == "aws.s3" and isinstance(event.get("detail"), dict):
            return _created(event.get("detail-type") == "Object Created", event["detail"], results)
        if "detail-type" in event and isinstance(event.get("detail"), dict):
            event = event["detail"]
            continue
        record = _only(event.get("Records"))
        if record.get("eventSource") == "aws:s3" and isinstance(record.get("s3"), dict):
            return _created(str(record.get("eventName")).startswith("ObjectCreated:"), _decoded(record["s3"]), results)
        if record.get("eventSource") != "aws:sqs":
            break
        try:
            event = json.loads(record["body"])
        except (KeyError, TypeError, ValueError) as error:
            raise JobError("The body of the SQS message is no JSON.", error="InvalidEvent") from error
    raise JobError(f"The event is none that this function knows: {_KNOWN}.", error="InvalidEvent")


def is_classic(event: Any) -> bool:
    """Whether the event is the classic one itself, so that its sender reads the answer."""
    return isinstance(event, dict) and "execution_id" in event


def _only(records: Any) -> dict[str, Any]:
    """The one record of a notification; none when there are no records at all."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return {}
    if len(records) != 1:
        raise JobError(
            f"The event holds {len(records)} records, and this function takes one job at a time: set the batch size to "
            "1.",
            error="InvalidEvent",
        )
    found: dict[str, Any] = records[0]
    return found


def _decoded(notification: dict[str, Any]) -> dict[str, Any]:
    """A notification of S3 itself, whose keys are encoded as in a form."""
    thing = notification.get("object")
    if isinstance(thing, dict) and isinstance(thing.get("key"), str):
        return {**notification, "object": {**thing, "key": unquote_plus(thing["key"])}}
    return notification


def _created(created: bool, detail: dict[str, Any], results: str | None) -> dict[str, Any]:
    bucket, thing = detail.get("bucket"), detail.get("object")
    name = bucket.get("name") if isinstance(bucket, dict) else None
    key = thing.get("key") if isinstance(thing, dict) else None
    if not isinstance(thing, dict) or not isinstance(name, str) or not isinstance(key, str) or not name or not key:
        raise JobError("The notification of S3 names no bucket and key.", error="InvalidEvent")
    uri = f"s3://{name}/{key}"
    if not created:
        raise Nothing(f"{uri} is not new.")
    if name == results:
        raise Nothing(f"{uri} lies in the bucket of results.")
    if key.endswith("/"):
        raise Nothing(f"{uri} is a folder.")
    path = PurePosixPath(key)
    version = [str(thing.get(part) or "") for part in ("versionId", "version-id", "eTag", "etag", "sequencer")]
    kind = "transcription_s3_uri" if path.suffix.lower() in TRANSCRIPTS else "video_s3_uri"
    return {"execution_id": f"{slug(path.stem)}-{derived_id(uri, *version)[:8]}", kind: uri}
