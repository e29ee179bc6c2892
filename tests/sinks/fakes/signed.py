"""Whether a request carries a valid signature of AWS (version 4)."""

from __future__ import annotations

import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .http import Request

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def is_signed(request: Request, service: str, key: str, secret: str) -> bool:
    """Whether the signature is the one that key and secret make for this service."""
    found = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if not found or found["key"] != key or found["service"] != service:
        return False
    names = found["names"].split(";")
    headers = {name: request.headers[name] for name in names if name in request.headers}
    signed = AWSRequest(request.method, f"http://{request.headers['host']}{request.target}", headers, request.body)
    signed.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(key, secret), service, found["region"])
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    return auth.signature(text, signed) == found["signature"]
