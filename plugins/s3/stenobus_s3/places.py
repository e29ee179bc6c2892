"""Addresses of objects."""

from __future__ import annotations

from stenobus_core import PermanentError


def place(uri: str) -> tuple[str, str]:
    """Bucket and key of an address. Raises PermanentError for what is none."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise PermanentError(f"{uri} is no S3 address: it should read s3://bucket/key.")
    return bucket, key
