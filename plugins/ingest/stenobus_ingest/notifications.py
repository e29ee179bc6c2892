"""What stores tell: objects made and removed, in the words of S3, EventBridge, SQS, SNS and NATS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_plus

#: Notifications inside notifications: S3 in SNS in SQS in an event of EventBridge.
_DEPTH: Final = 5
#: Objects of one notification.
_MOST: Final = 10_000
#: What Stenobus stores itself is named by its SHA-256.
_BLOB: Final = re.compile(r"(?:.*/)?[0-9a-f]{64}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,128}")

_KNOWN: Final = (
    "a notification of S3, an event of EventBridge, an SQS or SNS message with one of these in it, or an entry of a "
    "NATS object store"
)


class NotUnderstood(ValueError):
    """A notification of no known shape; the text says what is known."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object was made or removed."""

    store: Literal["s3", "nats"]
    bucket: str
    key: str
    made: bool
    #: The version's id; else the ETag, or what stands for it: what changes with the content. None when it is removed.
    version: str | None = None
    #: Whether one version was removed for good; others may be there.
    one_version: bool = False
    #: Of one key, the higher one is the later change; None when the store does not say.
    sequencer: str | None = None

    @property
    def uri(self) -> str:
        """The object's address. S3's keys stand as they are, those of NATS are quoted."""
        return f"{self.store}://{self.bucket}/{self.key if self.store == 's3' else quote(self.key)}"

    @property
    def is_ours(self) -> bool:
        """Whether Stenobus itself stored it, or it is a folder."""
        return self.key.endswith("/") or _BLOB.fullmatch(self.key) is not None


def decoded(data: bytes) -> dict[str, Any]:
    """The JSON of a notification. A list of messages, as a pipe of EventBridge hands them over, counts as one.

    Raises:
        NotUnderstood: it is no JSON, or neither an object nor a list.
    """
    said = _json(data, "text of the")
    if isinstance(said, list):
        return {"Messages": said}
    if not isinstance(said, dict):
        raise NotUnderstood(f"The notification is none that is known: {_KNOWN}.")
    return said


def changes(notification: Any) -> list[Change]:
    """Every change a notification tells of, in its order; none for a test of S3.

    Args:
        notification: decoded JSON.

    Raises:
        NotUnderstood: it has no known shape.
    """
    found = []
    for change in _changes(notification, _DEPTH):
        found.append(change)
        if len(found) > _MOST:
            raise NotUnderstood(f"The notification tells of more than {_MOST} objects; send them in several.")
    return found


def later(sequencer: str | None, known: str | None) -> bool | None:
    """Whether a change comes after a known one; None when that cannot be told.

    They are hexadecimal numbers of which the shorter one is filled with zeros on its right, as S3 documents.
    """
    if sequencer is None or known is None:
        return None
    width = max(len(sequencer), len(known))
    return sequencer.ljust(width, "0") > known.ljust(width, "0")


def _changes(said: Any, depth: int) -> Iterator[Change]:
    if not isinstance(said, dict) or depth == 0:
        raise NotUnderstood(f"The notification is none that is known: {_KNOWN}.")
    if said.get("Event") == "s3:TestEvent":
        return
    if isinstance(records := said.get("Records"), list):
        for record in records:
            yield from _record(record, depth)
    elif isinstance(messages := said.get("Messages"), list):
        for message in messages:
            yield from _changes(message, depth - 1)
    elif said.get("Type") == "Notification":
        yield from _changes(_json(said.get("Message"), "part of SNS in the"), depth - 1)
    elif said.get("Type") in {"SubscriptionConfirmation", "UnsubscribeConfirmation"}:
        raise NotUnderstood("SNS asks to confirm a subscription: open its SubscribeURL, which nothing here does.")
    elif said.get("source") == "aws.s3" and isinstance(said.get("detail"), dict):
        yield from _event_bridge(said["detail"], said.get("detail-type"))
    elif "detail-type" in said and isinstance(said.get("detail"), dict):
        yield from _changes(said["detail"], depth - 1)
    elif isinstance(body := said.get("body", said.get("Body")), str):
        yield from _changes(_json(body, "part of SQS in the"), depth - 1)
    elif {"bucket", "name", "nuid"} <= said.keys():
        yield _nats(said)
    else:
        raise NotUnderstood(f"The notification is none that is known: {_KNOWN}.")


def _record(record: Any, depth: int) -> Iterator[Change]:
    if not isinstance(record, dict):
        raise NotUnderstood("A record of the notification is no object.")
    if isinstance(record.get("s3"), dict):
        yield from _s3(record["s3"], str(record.get("eventName") or ""))
    elif isinstance(sns := record.get("Sns"), dict):
        yield from _changes(_json(sns.get("Message"), "part of SNS in the"), depth - 1)
    else:
        yield from _changes(record, depth - 1)


def _s3(said: dict[str, Any], name: str) -> Iterator[Change]:
    name = name.removeprefix("s3:")  # MinIO leaves it there
    made = name.startswith("ObjectCreated:")
    if not made and not name.startswith(("ObjectRemoved:", "LifecycleExpiration:")):
        return  # restored, tagged, replicated: the content is as it was
    bucket, thing = _parts(said)
    version = _text(thing.get("versionId"))
    yield _change(
        bucket,
        unquote_plus(_text(thing.get("key")) or ""),
        made,
        version,
        _text(thing.get("eTag")),
        version is not None and not name.endswith("DeleteMarkerCreated"),
        thing,
    )


def _event_bridge(detail: dict[str, Any], kind: Any) -> Iterator[Change]:
    made = kind == "Object Created"
    if not made and kind != "Object Deleted":
        return
    bucket, thing = _parts(detail)
    version = _text(thing.get("version-id"))
    gone = version is not None and detail.get("deletion-type") == "Permanently Deleted"
    yield _change(bucket, _text(thing.get("key")) or "", made, version, _text(thing.get("etag")), gone, thing)


def _change(
    bucket: str, key: str, made: bool, version: str | None, etag: str | None, gone: bool, thing: dict[str, Any]
) -> Change:
    if not key:
        raise NotUnderstood("The notification names no key.")
    sequencer = _text(thing.get("sequencer"))
    return Change(
        store="s3",
        bucket=bucket,
        key=key,
        made=made,
        # a bucket without versions calls them all null
        version=(version if version != "null" else None) or (etag or "").strip('"') or None,
        one_version=not made and gone and version != "null",
        sequencer=sequencer.upper() if sequencer and _HEX.fullmatch(sequencer) else None,
    )


def _nats(said: dict[str, Any]) -> Change:
    bucket, key = _text(said.get("bucket")), _text(said.get("name"))
    if not bucket or not key:
        raise NotUnderstood("The entry of the object store names no bucket and object.")
    made = not said.get("deleted")
    return Change(
        store="nats",
        bucket=bucket,
        key=key,
        made=made,
        version=(_text(said.get("digest")) or _text(said.get("nuid"))) if made else None,
    )


def _parts(said: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    bucket, thing = said.get("bucket"), said.get("object")
    name = _text(bucket.get("name")) if isinstance(bucket, dict) else None
    if not name or not isinstance(thing, dict):
        raise NotUnderstood("The notification names no bucket and object.")
    return name, thing


def _json(text: Any, what: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotUnderstood(f"The {what} notification is no JSON.") from error


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
