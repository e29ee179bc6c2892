"""Bounds on what a server may send."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import anyio
import httpx2

#: Most bytes of one response: some 250 bytes for each token that is streamed.
MOST: Final = 256 * 1024 * 1024
#: Bytes that are read of an error.
_READ_OF_ERROR: Final = 64 * 1024
#: Seconds for what follows the end of a stream. Only read to its last byte may its connection be used again.
_LEFTOVERS: Final = 0.1


class Broken(Exception):
    """The connection broke, or brings more than it may."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's bytes: too many of an answer are an error, of an error only the first ones are read."""

    def __init__(self, stream: httpx2.AsyncByteStream, good: bool) -> None:
        self._stream, self._good = stream, good

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if self._good and size > MOST:
                raise httpx2.RemoteProtocolError(f"the response is larger than {MOST} bytes")
            yield part
            if not self._good and size > _READ_OF_ERROR:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bounded(response: httpx2.Response) -> None:
    """Bound a response before anybody reads it (a response hook of the client).

    Raises:
        RemoteProtocolError: it is compressed, which was not asked for: a small one could become a huge one.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise httpx2.RemoteProtocolError("the response is compressed, which was not asked for")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, response.is_success)


async def parts(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The response's bytes as they come.

    Raises:
        Broken: the connection broke off.
    """
    try:
        async for part in response.aiter_bytes():
            yield part
    except (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, anyio.EndOfStream) as error:
        raise Broken(str(error) or type(error).__name__) from error


async def whole(response: httpx2.Response, most: int) -> bytes:
    """All of the response's bytes.

    Raises:
        Broken: the connection broke off, or they are more than ``most``.
    """
    found = bytearray()
    async with contextlib.aclosing(parts(response)) as coming:
        async for part in coming:
            found += part
            if len(found) > most:
                raise Broken(f"it is larger than {most} bytes")
    return bytes(found)


async def leftovers(rest: AsyncIterator[bytes]) -> None:
    """Read what follows the end of a stream, briefly."""
    try:
        async with asyncio.timeout(_LEFTOVERS):
            async for _ in rest:
                await asyncio.sleep(0)  # so that the time is kept even if there is always more
    except (TimeoutError, Broken):
        pass  # the answer is complete; the connection is closed instead
