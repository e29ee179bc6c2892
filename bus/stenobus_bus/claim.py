"""Claim check: a body too large for a message waits in the object bucket, and a reference travels in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from stenobus_contracts import BlobRef

from .envelope import CLAIM, attributes
from .errors import PayloadTooLarge, PermanentError
from .objects import ObjectBucket

#: Bodies up to this many bytes travel by themselves: streams stay quick to replay and easy to read.
THRESHOLD: Final = 256 * 1024


class ClaimCheck:
    """Swaps large bodies for references, and back.

    Args:
        objects: where the bodies wait.
        limit: what the server takes in one message, in bytes.
        most: bytes a body may have; a larger one is neither stored nor read.
    """

    def __init__(self, objects: ObjectBucket, limit: int, most: int) -> None:
        self._objects, self._most = objects, most
        self._threshold = min(THRESHOLD, limit)

    async def check_in(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        """What to send for a body: itself, or a reference and the header that says so.

        Raises:
            PayloadTooLarge: nobody would take it.
        """
        if len(body) <= self._threshold:
            return body, {}
        if len(body) > self._most:
            raise PayloadTooLarge(
                f"A body of {len(body)} bytes exceeds the limit of {self._most}; store its content and send a BlobRef."
            )
        ref = await self._objects.put(body, "application/json")
        return ref.model_dump_json().encode(), {CLAIM: ref.uri}

    async def whole(self, data: bytes, headers: Mapping[str, str] | None) -> bytes:
        """The body of a message, wherever it waits. Raises as :meth:`check_out` does."""
        return await self.check_out(data) if CLAIM in attributes(headers) else data

    async def check_out(self, reference: bytes) -> bytes:
        """The body a reference stands for, its size and hash verified.

        Raises:
            ValueError: this is no reference.
            PermanentError: the body is too large or differs from its reference.
            BlobNotFound: the body is gone.
        """
        ref = BlobRef.model_validate_json(reference)
        if ref.size > self._most:
            raise PermanentError(f"{ref.uri}: a body of {ref.size} bytes exceeds the limit of {self._most}.")
        body, digest = bytearray(), hashlib.sha256()
        async for chunk in self._objects.open(ref.uri):
            body += chunk
            digest.update(chunk)
            if len(body) > ref.size:
                break
        if len(body) != ref.size or digest.hexdigest() != ref.sha256:
            raise PermanentError(f"{ref.uri}: the stored body differs from its reference.")
        return bytes(body)
