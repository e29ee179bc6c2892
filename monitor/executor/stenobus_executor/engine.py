"""The engine, asked by requests made here: nothing that a client sent is passed on as it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from .request import Refused

#: Bytes of one answer, of an answer's head and of one event.
ANSWER_BYTES: Final = 8 * 1024 * 1024
_LINE_BYTES: Final = 256 * 1024
#: Seconds until an answer begins.
_PATIENCE: Final = 10.0


class Engine:
    """One engine, at a unix socket. Every call raises Refused: 502 and 504 when it does not answer, else its status."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of an answer."""
        return _parsed(await self._whole(path, query or {}))

    async def text(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """An answer as it is."""
        return await self._whole(path, query or {})

    async def post(self, path: str, query: Mapping[str, str], body: Mapping[str, int], patience: float) -> bytes:
        """Have something done; returns what the engine says of it."""
        sent = json.dumps(body).encode() if body else b""
        return await self._whole(path, query, "POST", sent, patience)

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[list[Any], None]:
        """The JSON of lines, as they come, for as long as the engine sends some; at first none, when it answers."""
        rest = b""
        async with aclosing(self.pieces(path, query)) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > _LINE_BYTES:
                    raise Refused(502, "The engine sends a line without an end.")
                yield [_parsed(line) for line in lines if line.strip()]

    async def pieces(
        self, path: str, query: Mapping[str, str], method: str = "GET", body: bytes = b"", patience: float = _PATIENCE
    ) -> AsyncGenerator[bytes, None]:
        """The body of an answer, as it comes; at first an empty piece, when it begins."""
        writer = None
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LINE_BYTES)
                # By HTTP/1.0 a body ends with its connection: there are no chunks that could be read in two ways.
                head = f"{method} {path}?{urlencode(query)} HTTP/1.0\r\nHost: engine\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
                if status >= 300:
                    raise Refused(status if status >= 400 else 502, _said(await reader.read(_LINE_BYTES)))
            yield b""
            while piece := await reader.read(65536):
                yield piece
        except TimeoutError as error:
            raise Refused(504, f"The engine does not answer {path} in time.") from error
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise Refused(502, f"The engine does not answer ({type(error).__name__}).") from error
        finally:
            if writer is not None:
                writer.close()

    async def _whole(
        self, path: str, query: Mapping[str, str], method: str = "GET", body: bytes = b"", patience: float = _PATIENCE
    ) -> bytes:
        found = bytearray()
        try:
            async with (
                asyncio.timeout(2 * patience),
                aclosing(self.pieces(path, query, method, body, patience)) as pieces,
            ):
                async for piece in pieces:
                    found += piece
                    if len(found) > ANSWER_BYTES:
                        raise Refused(502, "The engine's answer is too large.")
        except TimeoutError as error:
            raise Refused(504, f"The engine does not end its answer to {path}.") from error
        return bytes(found)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(502, "The engine sends something that is no JSON.") from error


def _said(body: bytes) -> str:
    """The sentence of a refusal of the engine's."""
    try:
        return str(json.loads(body)["message"])[:500]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "The engine refuses."
