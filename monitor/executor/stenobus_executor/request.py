"""One request of a client, read strictly. A connection carries one, so nothing can hide behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Bytes of a request line with its headers, of a body, and headers of one request.
HEAD_BYTES: Final = 8192
BODY_BYTES: Final = 1024
_HEADERS: Final = 32
_LINE: Final = re.compile(r"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.1")
_HEADER: Final = re.compile(r"([A-Za-z0-9-]{1,64}):[ \t]*([ -~]*?)[ \t]*")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,3}")


class Refused(Exception):
    """A request that is not carried out: an HTTP status, one sentence that says why, headers of the answer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    #: Path and query, as they came.
    target: str
    #: By name in lower case; none comes twice.
    headers: Mapping[str, str]
    body: bytes


async def read(reader: asyncio.StreamReader) -> Request | None:
    """The connection's request; None when it ends before one begins. Raises Refused."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise Refused(431, f"The request's head is longer than {HEAD_BYTES} bytes.") from error
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise Refused(400, "The request ends in the middle.") from error
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused(400, "The first line is no request of HTTP/1.1 for a path of this server.")
    headers = _headers(lines)
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not _LENGTH.fullmatch(length) or int(length) > BODY_BYTES:
        raise Refused(400, f"A body has a Content-Length of up to {BODY_BYTES} bytes, and no Transfer-Encoding.")
    try:
        body = await reader.readexactly(int(length))
    except asyncio.IncompleteReadError as error:
        raise Refused(400, "The body is shorter than its Content-Length.") from error
    return Request(line[1], line[2], headers, body)


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > _HEADERS:
        raise Refused(431, f"There are more than {_HEADERS} headers.")
    headers: dict[str, str] = {}
    for each in lines:
        header = _HEADER.fullmatch(each)
        if header is None or header[1].lower() in headers:
            raise Refused(400, "A header is malformed, or comes twice.")
        headers[header[1].lower()] = header[2]
    if "host" not in headers:
        raise Refused(400, "There is no Host.")
    return headers
