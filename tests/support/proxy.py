"""A network that can be broken: a TCP proxy on loopback between a client and a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Literal

Direction = Literal["up", "down"]


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        #: Nothing passes any more, in either direction, and nobody is told.
        self.dead = False
        #: Nothing is even taken any more.
        self.jammed = False

    def reset(self) -> None:
        for writer in (self.client, self.server):
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # closed meanwhile
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Passes bytes on until told otherwise.

    Args:
        port: of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._listener: asyncio.Server | None = None
        #: Seconds that every piece of data waits.
        self.delay = 0.0
        self.port = 0
        self.heal()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> Proxy:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Cut everything."""
        if self._listener is not None:
            self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection. New ones pass."""
        for link in list(self._links):
            link.reset()

    def hold(self, *directions: Direction) -> None:
        """Let nothing pass in these directions until healed; connections stay open, and new ones hang."""
        for direction in directions or ("up", "down"):
            self._passing[direction].clear()

    def strand(self) -> None:
        """Leave every connection half-open for ever, as a router that forgot it does. New ones pass."""
        for link in self._links:
            link.dead = True

    def jam(self) -> None:
        """Strand every connection, and take nothing more from either end of it."""
        self.strand()
        for link in self._links:
            link.jammed = True

    def heal(self) -> None:
        """Let everything pass again, without delay, what was held first."""
        self.delay = 0.0
        for passing in self._passing.values():
            passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()  # a server that is not there refuses
            return
        link = _Link(writer, server)
        self._links.add(link)
        for direction, source, sink in (("up", reader, server), ("down", upstream, writer)):
            task = asyncio.create_task(self._pump(link, direction, source, sink))  # type: ignore[arg-type]
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, link: _Link, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        try:
            while piece := await source.read(65536):
                await self._passing[direction].wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if link.jammed:
                    await asyncio.Event().wait()  # until the proxy stops
                if not link.dead:
                    sink.write(piece)
                    await sink.drain()
        except OSError:
            pass
        await self._passing[direction].wait()  # an end is not seen through a hole either
        if not link.dead:
            self._links.discard(link)
            link.reset()
