"""JSON objects in a bucket that several processes change one after the other: compare-and-set by entity tag."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from stenobus_core import PermanentError, RetryableError

from ...aws import code, explained

T = TypeVar("T")
Value = dict[str, Any]

#: What S3 answers when somebody else was faster.
_LOST: Final = {"PreconditionFailed", "412", "ConditionalRequestConflict", "OperationAborted", "409"}
_MISSING: Final = {"404", "NoSuchKey", "NotFound"}
#: Most seconds between two tries of one change.
_CROWD: Final = 0.5
#: Times that a change is tried while others are faster.
TRIES: Final = 100
RIGHTS: Final = "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"
NO_BUCKET: Final = "the bucket does not exist: create it, or correct STENOBUS_KB_BEDROCK_BUCKET"


def is_lost(error: ClientError, tag: str | None) -> bool:
    """Whether a conditional write failed because somebody else was faster, who may have removed what had this tag."""
    return code(error) in _LOST or (tag is not None and code(error) in _MISSING)


class Record:
    """One JSON object.

    Args:
        s3: client.
    """

    def __init__(self, s3: Any, bucket: str, key: str) -> None:
        self._s3, self._bucket, self._key = s3, bucket, key
        self._uri = f"s3://{bucket}/{key}"

    async def read(self) -> Value:
        """The value; empty when there is none."""
        return (await asyncio.to_thread(self._read))[0]

    async def change(self, step: Callable[[Value], T]) -> T:
        """Let ``step`` change the value in place, and store it when it did; again with what is there by then, for as
        long as somebody else was faster.

        Raises:
            PermanentError, RetryableError: the bucket does not answer as it should.
        """
        pause = 0.01
        for _ in range(TRIES):
            value, tag = await asyncio.to_thread(self._read)
            before = json.dumps(value, sort_keys=True)
            result = step(value)
            after = json.dumps(value, sort_keys=True)
            if after == before or await asyncio.to_thread(self._write, after.encode(), tag):
                return result
            await asyncio.sleep(random.uniform(0, pause))  # a crowd spreads
            pause = min(2 * pause, _CROWD)
        raise RetryableError(f"{self._uri}: others change it all the time.")

    def _read(self) -> tuple[Value, str | None]:
        with explained(self._uri, NO_BUCKET, RIGHTS):
            try:
                found = self._s3.get_object(Bucket=self._bucket, Key=self._key)
                content = found["Body"].read()
            except ClientError as error:
                if code(error) not in _MISSING:
                    raise
                return {}, None
        try:
            value = json.loads(content)
            if not isinstance(value, dict):
                raise TypeError
        except (ValueError, TypeError):
            raise PermanentError(
                f"{self._uri} is damaged: remove it; what it remembered is looked at anew then."
            ) from None
        return value, found["ETag"]

    def _write(self, content: bytes, tag: str | None) -> bool:
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        with explained(self._uri, NO_BUCKET, RIGHTS):
            try:
                self._s3.put_object(
                    Bucket=self._bucket, Key=self._key, Body=content, ContentType="application/json", **condition
                )
            except ClientError as error:
                if not is_lost(error, tag):
                    raise
                return False
        return True
