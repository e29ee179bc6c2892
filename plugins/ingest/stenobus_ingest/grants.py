"""Signed permissions to upload one file: who has the address may, until it expires or is used."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from stenobus_contracts.media import MediaKind

#: Seconds that a permission may last: less than what remembers that it was used.
LONGEST: Final = 7 * 86_400
#: Characters of a key, at least.
SHORTEST_KEY: Final = 32
#: Characters of a token, at most.
_LONGEST_TOKEN: Final = 8192
_PURPOSE: Final = b"stenobus-ingest upload v1\0"


class Denied(Exception):
    """The token permits nothing.

    Args:
        status: of the HTTP answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Grant(BaseModel):
    """What may be uploaded once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
    expires: int = Field(gt=0, description="seconds since 1970")
    max_bytes: int = Field(gt=0)
    content_type: str = Field(pattern=r"^[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,100}$")
    name: str | None = Field(default=None, max_length=255, description="what the file is called")
    kind: MediaKind | None = None
    metadata: dict[str, JsonValue] = Field(
        default={}, description="goes into the event, such as collection, principals"
    )


def grant(
    content_type: str,
    max_bytes: int,
    seconds: int,
    now: float,
    name: str | None = None,
    kind: MediaKind | None = None,
    metadata: dict[str, JsonValue] | None = None,
) -> Grant:
    """A new permission.

    Args:
        seconds: that it lasts from ``now``, in seconds since 1970.

    Raises:
        ValueError: a part of it makes no sense; the text says which.
    """
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"An address may last from 1 to {LONGEST} seconds, not {seconds}.")
    try:
        return Grant(
            nonce=secrets.token_hex(16),
            expires=int(now) + seconds,
            max_bytes=max_bytes,
            content_type=content_type.lower(),
            name=name,
            kind=kind,
            metadata=metadata or {},
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}.") from error


def signed(permission: Grant, key: str) -> str:
    """The permission as a token for an address."""
    claims = permission.model_dump(mode="json", exclude_defaults=True)
    body = _encoded(json.dumps(claims, separators=(",", ":"), sort_keys=True).encode())
    return f"{body}.{_encoded(_signature(body, key))}"


def verified(token: str, keys: Sequence[str], now: float) -> Grant:
    """The permission of a token that one of the keys has signed and that lasts still.

    Raises:
        Denied: it is none, or was changed, or is over.
    """
    body, dot, signature = token.partition(".")
    if len(token) > _LONGEST_TOKEN or not dot:
        raise Denied(403, "The address carries no valid signature.")
    try:
        given = _decoded(signature)
    except (ValueError, binascii.Error):
        given = b""
    # every key is tried, whichever fits: the time tells nothing
    if not any([hmac.compare_digest(_signature(body, key), given) for key in keys]):  # noqa: C419
        raise Denied(403, "The address carries no valid signature.")
    try:
        permission = Grant.model_validate_json(_decoded(body))
    except (ValueError, binascii.Error) as error:
        raise Denied(403, "The address was signed, and permits nothing that is known.") from error
    if now >= permission.expires:
        raise Denied(403, "The address has expired; ask for a new one.")
    return permission


def _signature(body: str, key: str) -> bytes:
    return hmac.digest(key.encode(), _PURPOSE + body.encode("ascii", errors="replace"), hashlib.sha256)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
