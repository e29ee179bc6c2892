"""Set objects aside, and bring them back: S3 cannot rename, so they are copied, compared, and only then removed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any, Final

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from stenobus_core import BlobNotFound, PermanentError, RetryableError

from .errors import explained
from .places import place
from .settings import Settings

#: Bytes from which on a copy is made in parts: S3 copies 5 GiB at once, which takes longer than one answer may.
_AT_ONCE: Final = 256 * 2**20
_BLOCK: Final = 1 << 20
#: What belongs to an object beside its bytes.
_KEPT: Final = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")


def aside(settings: Settings, uri: str, label: str) -> str:
    """Where an object would lie in quarantine: below the blobs of the own bucket, which nobody watches for new files.

    Raises:
        PermanentError: it is no object that may be moved, or there is no bucket of our own.
    """
    _, key = _ours(settings, uri)
    if not (name := key.rpartition("/")[2]):
        raise PermanentError(f"{uri} is a folder.")
    return f"{_home(settings)}quarantine/{label}/{name}"


def may_move(client: Any, settings: Settings, uri: str, to: str) -> None:
    """Try the rights that moving takes, there and back, by what leaves nothing behind.

    An upload that is begun and broken off is none, and a name that nobody has is removed.

    Raises:
        PermanentError: a right is missing, and which.
        RetryableError: the endpoint is out of reach.
    """
    for each in (to, uri):
        bucket, key = _ours(settings, each)
        try:
            with explained(each):
                _try_writing(client, bucket, key)
                _try_removing(client, bucket, f"{key}.stenobus-probe")
        except PermanentError as error:
            raise PermanentError(f"moving takes s3:PutObject and s3:DeleteObject at both places: {error}") from error


def move(client: Any, settings: Settings, uri: str, to: str) -> None:
    """Copy an object, compare the copy's hash, remove the original. After a crash either is whole, and again ends it.

    Raises:
        BlobNotFound: it lies at neither address.
        PermanentError: it must not be moved, something else lies at the other address, or it changed meanwhile.
        RetryableError: the endpoint is out of reach, or the copy is not what was copied.
    """
    (bucket, key), (where, name) = _ours(settings, uri), _ours(settings, to)
    found, there = _head(client, uri), _head(client, to)
    if found is None:
        if there is None:
            raise BlobNotFound(uri)
        return  # it was moved before
    original = _sha256(client, uri, found["ETag"])
    if there is None:
        kept = {name: found[name] for name in _KEPT if name in found}
        with explained(uri):
            client.copy(
                {"Bucket": bucket, "Key": key},
                where,
                name,
                ExtraArgs=kept | {"MetadataDirective": "REPLACE", "CopySourceIfMatch": found["ETag"]},
                Config=TransferConfig(
                    use_threads=False, multipart_threshold=_AT_ONCE, multipart_chunksize=_AT_ONCE
                ),  # this is a worker thread already
            )
        there = _head(client, to)
        if there is None or _sha256(client, to, there["ETag"]) != original:
            raise RetryableError(f"{to}: the copy is not what lies at {uri}, which stays.")
    elif _sha256(client, to, there["ETag"]) != original:
        raise PermanentError(f"{to}: something else lies there; {uri} stays.")
    latest = _head(client, uri)
    if latest is not None and latest["ETag"] != found["ETag"]:
        raise PermanentError(f"{uri}: it changed while it was copied; it stays.")
    with explained(uri):
        client.delete_object(Bucket=bucket, Key=key)


def _home(settings: Settings) -> str:
    if settings.bucket is None:
        raise PermanentError("No bucket to set content aside in: set STENOBUS_S3_BUCKET.")
    return f"s3://{settings.bucket}/{settings.prefix}"


def _ours(settings: Settings, uri: str) -> tuple[str, str]:
    """Bucket and key of an object that somebody said is ours to move: reading may be free anywhere."""
    if not uri.startswith((_home(settings), *settings.movable)):
        raise PermanentError(f"{uri} lies outside the blobs and the folders of STENOBUS_S3_MOVABLE.")
    return place(uri)


def _head(client: Any, uri: str) -> dict[str, Any] | None:
    bucket, key = place(uri)
    try:
        with explained(uri):
            found: dict[str, Any] = client.head_object(Bucket=bucket, Key=key)
    except BlobNotFound:
        return None
    return found


def _sha256(client: Any, uri: str, etag: str) -> str:
    """The hash of one version of an object."""
    bucket, key = place(uri)
    digest = hashlib.sha256()
    with explained(uri):
        body = client.get_object(Bucket=bucket, Key=key, IfMatch=etag)["Body"]
        try:
            while block := body.read(_BLOCK):
                digest.update(block)
        finally:
            body.close()
    return digest.hexdigest()


def _try_writing(client: Any, bucket: str, key: str) -> None:
    begun = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=begun["UploadId"])


def _try_removing(client: Any, bucket: str, key: str) -> None:
    answer = client.delete_object(Bucket=bucket, Key=key)
    if answer.get("DeleteMarker"):  # the bucket keeps versions: even of what never was
        with suppress(ClientError):  # that takes a right of its own, and a marker of nothing does no harm
            client.delete_object(Bucket=bucket, Key=key, VersionId=answer["VersionId"])
