"""A link between a process and its NATS server that can be cut at a chosen message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

_BLOCK = 1 << 16


class Sent(NamedTuple):
    """One message that the process sends."""

    subject: str
    #: Header block and payload as they are on the wire.
    body: bytes


class Link:
    """Passes bytes on in both directions until the process is about to send a certain message; that one is kept back,
    and so is everything behind it, until :meth:`resume`.

    Args:
        server: URL of the NATS server.
        until: says of each message whether it is the one.
    """

    def __init__(self, server: str, until: Callable[[Sent], bool]) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 4222
        self._until = until
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        #: The message came.
        self.reached = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the process connects to."""
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def resume(self) -> None:
        """Pass everything on from now on."""
        self._until = lambda _: False
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            there, back = await asyncio.open_connection(self._host, self._port)
            try:
                ways = [asyncio.create_task(self._up(reader, back)), asyncio.create_task(self._down(there, writer))]
                self._tasks.update(ways)
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                back.close()
                writer.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the process to the server, message by message."""
        while line := await reader.readline():
            frame = line
            words = line.split()
            if words and words[0].upper() in {b"PUB", b"HPUB"}:
                body = await reader.readexactly(int(words[-1]) + 2)
                frame += body
                if not self.reached.is_set() and self._until(Sent(words[1].decode(), body[:-2])):
                    self._open.clear()
                    self.reached.set()
            await self._open.wait()
            writer.write(frame)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the server to the process."""
        while block := await reader.read(_BLOCK):
            await self._open.wait()
            writer.write(block)
            await writer.drain()

    @classmethod
    @asynccontextmanager
    async def open(cls, server: str, until: Callable[[Sent], bool]) -> AsyncIterator[Link]:
        """A link that lasts as long as the context."""
        link = cls(server, until)
        link._server = await asyncio.start_server(link._serve, "127.0.0.1", 0, limit=1 << 24)
        try:
            yield link
        finally:
            link._server.close()
            for task in link._tasks:
                task.cancel()
            await asyncio.gather(*link._tasks, return_exceptions=True)
