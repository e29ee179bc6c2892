"""Objects in a NATS object bucket, content-addressed, read at the speed of the connection.

nats-py's own ``get`` waits for one chunk after the other (6 MiB/s measured, nats.py#703). The chunks of an object are
ordinary messages of the bucket's stream, so the direct-get API hands them out in batches without a consumer.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from stenobus_contracts import BlobRef

from . import direct
from .acks import Acks
from .errors import BlobNotFound, ServerUnavailable
from .rights import may_publish

_BATCH: Final = 64  # chunks of 128 KiB in one request: 8 MiB on the way at a time
#: Bytes of an object in one message.
_CHUNK: Final = 128 * 1024
_TIMEOUT: Final = 10.0
_HASH_BLOCK: Final = 1 << 20
_BUCKET: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Object(NamedTuple):
    nuid: str
    size: int


class ObjectBucket:
    """Blobs in one object bucket. The key is the content's SHA-256, so storing twice stores once."""

    scheme = "nats"

    def __init__(self, nc: Client, name: str, acks: Acks) -> None:
        self.name = name
        self._nc = nc
        self._acks = acks
        self._js = nc.jetstream(timeout=_TIMEOUT)

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file, under their hash.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        digest, size = await asyncio.to_thread(_measure, data)
        ref = BlobRef(uri=f"nats://{self.name}/{quote(digest)}", sha256=digest, size=size, content_type=content_type)
        try:
            if (known := await self._find(digest)) is not None and known.size == size:
                return ref
            await self._upload(data, ref)
        except NatsError as error:
            raise ServerUnavailable(
                f"The object bucket {self.name} does not answer ({type(error).__name__})."
            ) from error
        return ref

    async def _upload(self, data: bytes | Path, ref: BlobRef) -> None:
        """Write the chunks, then what makes an object of them.

        The client library rolls up what was there under the name, and purges its chunks. That takes rights by which a
        bucket can be emptied, for nothing: equal names have equal contents here.
        """
        nuid, chunks = uuid.uuid4().hex, 0
        subject = f"$O.{self.name}.C.{nuid}"
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
            while block := await asyncio.to_thread(file.read, _CHUNK):
                await self._js.publish(subject, block)
                chunks += 1
        info = {
            "name": ref.sha256,
            "headers": {"content-type": [ref.content_type]},
            "options": {"max_chunk_size": _CHUNK},
            "bucket": self.name,
            "nuid": nuid,
            "size": ref.size,
            "chunks": chunks,
            "digest": f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(ref.sha256)).decode()}",
            "mtime": datetime.now(UTC).isoformat(),
        }
        await self._js.publish(_meta(self.name, ref.sha256), json.dumps(info).encode())

    async def open(self, uri: str) -> AsyncIterator[bytes]:
        """The object's chunks in order.

        Raises:
            BlobNotFound: there is no such object, or its chunks were removed.
            ServerUnavailable: the bucket stopped answering.
        """
        bucket, key = _place(uri)
        found = await self._find(key, bucket)
        if found is None:
            raise BlobNotFound(uri)
        size = 0
        try:
            subject = f"$O.{bucket}.C.{found.nuid}"
            async for msg in direct.messages(self._nc, f"OBJ_{bucket}", subject, batch=_BATCH):
                size += len(msg.data)
                yield msg.data
                if size == found.size:
                    return  # saves asking for more
        except (NatsError, TimeoutError) as error:
            raise ServerUnavailable(f"{uri}: the object bucket stopped answering ({type(error).__name__}).") from error
        if size != found.size:
            raise BlobNotFound(uri)

    def aside(self, uri: str, label: str) -> str:
        """An address in the same bucket, under a label. Raises BlobNotFound for what is no address of an object."""
        bucket, key = _place(uri)
        return f"nats://{bucket}/{quote(f'quarantine/{label}/{key}', safe='')}"

    async def may_move(self, uri: str, to: str) -> None:
        """Raise AccessDenied where this user may not write what the bucket says about an object. Changes nothing."""
        for each in (uri, to):
            bucket, key = _place(each)
            await may_publish(self._acks, _meta(bucket, key))

    async def move(self, uri: str, to: str) -> None:
        """Give an object another name in its bucket; its chunks stay where they are, and moved already is as good.

        Raises:
            BlobNotFound: there is no such object, under neither name.
            ServerUnavailable: the bucket does not answer.
        """
        bucket, key = _place(uri)
        where, name = _place(to)
        info = await self._info(key, bucket)
        moved = await self._info(name, where)
        if where != bucket or (info is None and moved is None):
            raise BlobNotFound(uri)
        try:
            if moved is None and info is not None:
                await self._js.publish(_meta(bucket, name), json.dumps(info | {"name": name}).encode())
            if info is not None:
                gone = {"name": key, "bucket": bucket, "nuid": "", "size": 0, "chunks": 0, "deleted": True}
                gone["mtime"] = datetime.now(UTC).isoformat()
                await self._js.publish(_meta(bucket, key), json.dumps(gone).encode())
        except NatsError as error:
            raise ServerUnavailable(f"The object bucket {bucket} does not answer ({type(error).__name__}).") from error

    async def close(self) -> None:
        """Nothing to release: the connection belongs to the bus."""

    async def _find(self, key: str, bucket: str | None = None) -> _Object | None:
        info = await self._info(key, bucket or self.name)
        return _Object(info["nuid"], info["size"]) if info is not None else None

    async def _info(self, key: str, bucket: str) -> dict[str, Any] | None:
        """What the bucket says about an object; None when there is none, or none any more."""
        try:
            msg = await self._js.get_last_msg(f"OBJ_{bucket}", _meta(bucket, key), direct=True)
        except NotFoundError:
            return None
        except NatsError as error:
            if isinstance(error, NoRespondersError) and not await self._exists(bucket):
                return None
            raise ServerUnavailable(f"The object bucket {bucket} does not answer ({type(error).__name__}).") from error
        info: dict[str, Any] = json.loads(msg.data or b"{}")
        return None if info.get("deleted") else info

    async def _exists(self, bucket: str) -> bool:
        try:
            await self._js.stream_info(f"OBJ_{bucket}")
        except NotFoundError:
            return False
        except NatsError:
            return True  # for all we know
        return True


def _place(uri: str) -> tuple[str, str]:
    """Bucket and name of an object. Raises BlobNotFound for what is no address."""
    bucket, _, key = uri.removeprefix("nats://").partition("/")
    if not _BUCKET.fullmatch(bucket) or not key:
        raise BlobNotFound(uri)
    return bucket, unquote(key)


def _meta(bucket: str, key: str) -> str:
    """Subject of what a bucket says about an object."""
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(key.encode()).decode()}"


def _measure(data: bytes | Path) -> tuple[str, int]:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest(), len(data)
    digest, size = hashlib.sha256(), 0
    with data.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
