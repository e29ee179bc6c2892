"""Blobs in a bucket: content-addressed to write, any ``s3://bucket/key`` to read."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from stenobus_contracts import BlobRef
from stenobus_core import PermanentError
from stenobus_core.blob_stores import Entry

from . import moving
from .errors import explained
from .places import place
from .settings import Settings

CHUNK_BYTES = 1 << 20


class S3Store:
    """A bucket behind boto3, which blocks: every call runs in a worker thread.

    Region, endpoint and credentials come from where boto3 looks for them: AWS_REGION, AWS_ENDPOINT_URL, AWS_PROFILE,
    AWS_ACCESS_KEY_ID and so on.

    Raises:
        BlobNotFound: from :meth:`open`, when there is no such object.
        PermanentError: somebody has to change credentials, permissions or settings first.
        RetryableError: the endpoint cannot be reached, is overloaded or broke off.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._opened: Any = None

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes or a file under their SHA-256; what is there already is not sent again."""
        return await asyncio.to_thread(self._put, data, content_type)

    async def write(self, path: Path, uri: str, content_type: str) -> None:
        """Store a file at an address of one's choice, in place of what is there."""
        await asyncio.to_thread(self._write, path, uri, content_type)

    async def open(self, uri: str) -> AsyncIterator[bytes]:
        """Stream an object in chunks of at most 1 MiB."""
        body = await asyncio.to_thread(self._get, uri)
        try:
            while chunk := await asyncio.to_thread(self._read, uri, body):
                yield chunk
        finally:
            body.close()

    async def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every object under a prefix, in order of their keys."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        after = ""
        while True:
            page = await asyncio.to_thread(self._page, uri, bucket, prefix, after)
            for found in page.get("Contents", ()):
                after = found["Key"]
                yield Entry(f"s3://{bucket}/{after}", found["Size"], found["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return

    async def remove(self, uri: str, within: str | None = None) -> None:
        """Remove an object; removed already is as good. There are no folders that it could leave empty."""
        await asyncio.to_thread(self._remove, uri)

    def aside(self, uri: str, label: str) -> str:
        """An address below the blobs. Raises PermanentError for what is not ours to move."""
        return moving.aside(self._settings, uri, label)

    async def may_move(self, uri: str, to: str) -> None:
        """Raise PermanentError where a right to move an object there, or back, is missing. Leaves nothing behind."""
        await asyncio.to_thread(lambda: moving.may_move(self._client(), self._settings, uri, to))

    async def move(self, uri: str, to: str) -> None:
        """Copy an object, compare the copy's hash, and remove the original; moved already is as good."""
        await asyncio.to_thread(lambda: moving.move(self._client(), self._settings, uri, to))

    async def close(self) -> None:
        """Release the connections."""
        if self._opened is not None:
            await asyncio.to_thread(self._opened.close)

    def _client(self) -> Any:
        with self._opening:  # a client may be used by many threads, but made by one only
            if self._opened is None:
                self._opened = Session().client(
                    "s3",
                    region_name=os.environ.get("AWS_REGION"),  # boto3 itself knows AWS_DEFAULT_REGION only
                    config=Config(
                        connect_timeout=self._settings.connect_timeout,
                        read_timeout=self._settings.read_timeout,
                        retries={"mode": "standard", "total_max_attempts": self._settings.attempts},
                    ),
                )
            return self._opened

    def _put(self, data: bytes | Path, content_type: str) -> BlobRef:
        bucket = self._settings.bucket
        if bucket is None:
            raise PermanentError("No bucket to store in: set STENOBUS_S3_BUCKET.")
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, io.SEEK_END)
            key = self._settings.prefix + sha256
            uri = f"s3://{bucket}/{key}"
            with explained(uri):
                if not self._holds(bucket, key, sha256, size):
                    file.seek(0)
                    self._send(file, bucket, key, sha256, content_type)
        return BlobRef(uri=uri, sha256=sha256, size=size, content_type=content_type)

    def _write(self, path: Path, uri: str, content_type: str) -> None:
        bucket, key = place(uri)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            with explained(uri):
                self._send(file, bucket, key, sha256, content_type)

    def _holds(self, bucket: str, key: str, sha256: str, size: int) -> bool:
        try:
            head = self._client().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return False
        return bool(head["ContentLength"] == size and head["Metadata"].get("sha256") == sha256)

    def _send(self, file: BinaryIO, bucket: str, key: str, sha256: str, content_type: str) -> None:
        self._client().upload_fileobj(
            file,
            bucket,
            key,
            ExtraArgs={"ContentType": content_type, "Metadata": {"sha256": sha256}},
            Config=TransferConfig(use_threads=False),  # this is a worker thread already
        )

    def _get(self, uri: str) -> Any:
        bucket, key = place(uri)
        with explained(uri):
            return self._client().get_object(Bucket=bucket, Key=key)["Body"]

    def _page(self, uri: str, bucket: str, prefix: str, after: str) -> dict[str, Any]:
        with explained(uri):
            page: dict[str, Any] = self._client().list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after)
            return page

    def _remove(self, uri: str) -> None:
        bucket, key = place(uri)
        with explained(uri):
            self._client().delete_object(Bucket=bucket, Key=key)

    def _read(self, uri: str, body: Any) -> bytes:
        with explained(uri):
            chunk: bytes = body.read(CHUNK_BYTES)
            return chunk
