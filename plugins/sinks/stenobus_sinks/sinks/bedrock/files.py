"""Documents as files of the data source: one and its metadata each, never replaced by an older one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any, Final

from botocore.exceptions import ClientError

from stenobus_core import PermanentError, RetryableError

from ...aws import code, explained
from ...port import Document
from .records import NO_BUCKET, RIGHTS, TRIES, is_lost

#: Most bytes that Bedrock reads of a document, and of its metadata (its documented quotas).
MAX_BYTES: Final = 50 * 1024 * 1024
MAX_METADATA_BYTES: Final = 10 * 1024
_SUFFIX: Final = ".metadata.json"


class Superseded(Exception):
    """There is a newer version."""


class Files:
    """The folder that the data source reads.

    Args:
        s3: client.
        folder: beginning of its keys.
    """

    def __init__(self, s3: Any, bucket: str, folder: str) -> None:
        self._s3, self._bucket, self._folder = s3, bucket, folder

    def uri(self, collection: str, id: str) -> str:
        """Address of a document. Short, since Bedrock takes no long ones, and the same for every version."""
        return f"s3://{self._bucket}/{self._key(collection, id)}"

    async def put(self, collection: str, document: Document, order: int) -> bool:
        """Write a document, its metadata first.

        Returns:
            Whether anything had to be written.

        Raises:
            PermanentError: Bedrock would not take it, its text cannot be had, or the bucket refuses.
            Superseded: a newer version is there.
        """
        metadata = _metadata(collection, document)
        text = (await document.text()).encode()
        if not text.strip():
            raise PermanentError(f"{document.id}: it has no text, which Bedrock refuses.")
        if len(text) > MAX_BYTES:
            raise PermanentError(f"{document.id}: it has {len(text)} bytes, and Bedrock takes {MAX_BYTES}.")
        key = self._key(collection, document.id)

        def write() -> bool:
            return any(
                [
                    self._replace(key + _SUFFIX, metadata, "application/json", document.digest, order),
                    self._replace(key, text, "text/markdown", document.digest, order),
                ]
            )

        return await asyncio.to_thread(write)

    async def remove(self, collection: str, id: str, order: int) -> bool:
        """Remove a document, its metadata last.

        Returns:
            Whether there was one.

        Raises:
            Superseded: a newer version is there.
        """
        key = self._key(collection, id)

        def remove() -> bool:
            return any([self._delete(key, order), self._delete(key + _SUFFIX, order)])

        return await asyncio.to_thread(remove)

    def _key(self, collection: str, id: str) -> str:
        return f"{self._folder}{collection}/{hashlib.sha256(id.encode()).hexdigest()[:24]}.md"

    def _head(self, key: str) -> tuple[str | None, str, int]:
        """Entity tag, digest and order of what is there; no tag when nothing is."""
        try:
            head = self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if code(error) != "404":
                raise
            return None, "", 0
        own = head["Metadata"]
        return head["ETag"], own.get("digest", ""), int(own.get("order", "0"))

    def _replace(self, key: str, content: bytes, kind: str, digest: str, order: int) -> bool:
        with explained(f"s3://{self._bucket}/{key}", NO_BUCKET, RIGHTS):
            for _ in range(TRIES):
                tag, there, since = self._head(key)
                if since > order:
                    raise Superseded
                if tag and there == digest:
                    return False
                condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
                try:
                    self._s3.put_object(
                        Bucket=self._bucket,
                        Key=key,
                        Body=content,
                        ContentType=kind,
                        Metadata={"digest": digest, "order": str(order)},
                        **condition,
                    )
                    return True
                except ClientError as error:
                    if not is_lost(error, tag):
                        raise  # else somebody was faster: look who
            raise RetryableError(f"s3://{self._bucket}/{key}: others write it all the time.")

    def _delete(self, key: str, order: int) -> bool:
        with explained(f"s3://{self._bucket}/{key}", NO_BUCKET, RIGHTS):
            for _ in range(TRIES):
                tag, _, since = self._head(key)
                if tag is None:
                    return False
                if since > order:
                    raise Superseded
                try:
                    self._s3.delete_object(Bucket=self._bucket, Key=key, IfMatch=tag)
                    return True
                except ClientError as error:
                    if not is_lost(error, tag):
                        raise
            raise RetryableError(f"s3://{self._bucket}/{key}: others write it all the time.")


def _metadata(collection: str, document: Document) -> bytes:
    """What filters may use: strings, numbers, booleans and lists of strings, all else as JSON text."""
    found: dict[str, Any] = {}
    for name, value in document.metadata.items():
        if isinstance(value, str | bool | int | float) or (
            isinstance(value, list) and value and all(isinstance(part, str) for part in value)
        ):
            found[name] = value
        elif value is not None and value != []:
            found[name] = json.dumps(value, ensure_ascii=False, sort_keys=True)
    found |= {"collection": collection, "document": document.id, "title": document.title}
    found["principals"] = list(document.principals) or ["*"]  # filters cannot ask for what is absent
    if document.uri:
        found["uri"] = document.uri
    content = json.dumps({"metadataAttributes": found}, ensure_ascii=False, sort_keys=True).encode()
    if len(content) > MAX_METADATA_BYTES:
        raise PermanentError(
            f"{document.id}: its metadata has {len(content)} bytes, and Bedrock takes {MAX_METADATA_BYTES}."
        )
    return content
