"""Content that an event refers to, and what it really is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from stenobus_bus import BlobNotFound, HandlerError, RetryableError
from stenobus_contracts import Media
from stenobus_core.blobs import Blobs
from stenobus_core.errors import StenobusError

from ..errors import ActionFailed
from .parameters import Shape

#: Levels of an event that are searched.
_DEPTH: Final = 20
#: Bytes that are read to know a hash.
_LARGEST: Final = 8 * 2**30
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SCHEMES: Final = frozenset({"nats", "file", "s3"})


class Content(Shape):
    """Content that changes its place."""

    uri: str
    to: str
    sha256: str
    size: int


def references(value: Any) -> Iterator[Media]:
    """Content anywhere in an event's payload, with a hash or without."""
    yield from _references(value, 0)


async def digest(blobs: Blobs, uri: str) -> tuple[str, int] | None:
    """SHA-256 and size of what lies at an address, None for nothing.

    Raises:
        ActionFailed: this is no address, its store does not give it, or it is too large to be read for that.
        RetryableError, BusError: its store, or the bus, does not answer.
    """
    found, size = hashlib.sha256(), 0
    media = _media(uri, None)
    if media is None:
        raise ActionFailed(f"{uri[:100]!r} is no address of content.")
    try:
        async for chunk in blobs.chunks(media):
            found.update(chunk)
            size += len(chunk)
            if size > _LARGEST:
                raise ActionFailed(f"{uri} is larger than {_LARGEST} bytes; people have to move it.")
    except BlobNotFound:
        return None
    except RetryableError:
        raise
    except (HandlerError, StenobusError) as error:
        raise ActionFailed(str(error)) from error
    return found.hexdigest(), size


def _references(value: Any, depth: int) -> Iterator[Media]:
    if depth > _DEPTH:
        return
    if isinstance(value, dict):
        media = _media(value.get("uri"), value.get("sha256"))
        if media is not None:
            yield media
        for inner in value.values():
            yield from _references(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, depth + 1)


def _media(uri: Any, sha256: Any) -> Media | None:
    """Content as somebody wrote it; None for what is none."""
    try:
        if not isinstance(uri, str) or urlsplit(uri).scheme not in _SCHEMES:
            return None
        return Media(uri=uri, sha256=sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else None)
    except (ValueError, ValidationError):
        return None
