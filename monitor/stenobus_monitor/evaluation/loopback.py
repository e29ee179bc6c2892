"""A small HTTP server on the loopback interface that takes and gives JSON; what the monitor talks to is made of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

#: Bytes of one request.
_LARGEST: Final = 4 * 1024 * 1024


class Loopback:
    """Listens on a free port. Who is one says what it answers."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._port = 0
        self._closing = asyncio.Event()
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document for a request."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LARGEST)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close it, and hang up on whoever still waits for an answer."""
        if self._server is not None:
            self._server.close()
        self._closing.set()
        for writer in self._open.values():
            writer.close()
        await asyncio.gather(*(task for task in self._open if task is not None))

    async def pause(self, seconds: float) -> None:
        """Let time pass before an answer, as long as it is not closed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open[task] = writer
        try:
            while asked := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = asked.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
                length = int(headers.get("content-length", "0"))
                if length > _LARGEST:
                    break
                body = await reader.readexactly(length)
                method, path, _ = line.split(" ", 2)
                status, answer = await self.answer(method, path, body)
                data = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever asked is gone, or speaks no HTTP
        finally:
            del self._open[task]
            writer.close()
