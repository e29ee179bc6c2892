"""Addresses of S3 that permit one upload. The key is ours, and nothing that lies there is replaced."""

from __future__ import annotations

import os
import re
import uuid
from typing import Any, Final

from stenobus_core import PermanentError

#: Seconds that S3 lets an address last.
LONGEST: Final = 7 * 86_400
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def client() -> Any:
    """A client for signing. Region, endpoint and credentials are boto3's own (AWS_…).

    Raises:
        PermanentError: boto3 is missing, or knows no credentials.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
    except ImportError as error:
        raise PermanentError("S3 needs an extra: pip install 'stenobus-ingest[s3]'.") from error
    session = Session()
    if session.get_credentials() is None:
        raise PermanentError("No AWS credentials to sign with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    # the older signature covers neither If-None-Match nor the length
    return session.client("s3", region_name=os.environ.get("AWS_REGION"), config=Config(signature_version="s3v4"))


def new_key(prefix: str, name: str | None) -> str:
    """A key that nobody can guess, with the file's name at its end."""
    safe = _UNSAFE.sub("-", name or "").strip("-.")[-100:] or "upload"
    return f"{prefix.strip('/') + '/' if prefix.strip('/') else ''}{uuid.uuid4().hex}/{safe}"


def put(client: Any, bucket: str, key: str, content_type: str, size: int, seconds: int) -> dict[str, Any]:
    """An address for one PUT of exactly so many bytes; the headers that go with it are signed.

    S3 signs no range of sizes for a PUT: where only a limit is known, take :func:`post`.
    """
    headers = {"Content-Type": content_type, "Content-Length": str(size), "If-None-Match": "*"}
    url = client.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": bucket,
            "Key": key,
            "ContentType": content_type,
            "ContentLength": size,
            "IfNoneMatch": "*",
        },
        ExpiresIn=seconds,
        HttpMethod="PUT",
    )
    return {"method": "PUT", "url": url, "headers": headers, "uri": f"s3://{bucket}/{key}"}


def post(client: Any, bucket: str, key: str, content_type: str, max_bytes: int, seconds: int) -> dict[str, Any]:
    """An address for one form, whose fields come before the file, of 1 to so many bytes.

    A form cannot forbid to replace an object; the key, which nobody else knows, is what keeps others apart.
    """
    made = client.generate_presigned_post(
        bucket,
        key,
        Fields={"Content-Type": content_type},
        Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, max_bytes]],
        ExpiresIn=seconds,
    )
    return {"method": "POST", "url": made["url"], "fields": made["fields"], "uri": f"s3://{bucket}/{key}"}
