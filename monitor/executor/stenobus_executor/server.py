"""The executor's own socket: one request a connection, an answer, the end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from . import calls, passing, request
from .actions import Actions
from .approval import ApprovalRefused
from .audit import audit
from .checks import Checks, Guessing
from .engine import ANSWER_BYTES, Engine
from .request import Refused, Request
from .rules import Rules

#: Connections at once, and those of them that may follow events.
_CONNECTIONS: Final = 64
_FOLLOWERS: Final = 8
#: Seconds a request may take to arrive, and a piece of an answer to be taken.
ARRIVAL: Final = 5.0
_TAKEN: Final = 30.0
_JSON, _BYTES = "application/json", "application/octet-stream"


class Server:
    """Answers what may be answered, and says of everything else why not."""

    def __init__(
        self, engine: Engine, rules: Rules, actions: Actions, checks: Checks, arrival: float = ARRIVAL
    ) -> None:
        self._engine, self._rules, self._actions, self._checks = engine, rules, actions, checks
        self._arrival = arrival
        self._open = self._following = 0

    @asynccontextmanager
    async def listen(self, path: Path, group: int | None = None) -> AsyncIterator[None]:
        """Serve at a socket that its owner and a group may use; it is gone afterwards.

        Raises:
            OSError: the socket cannot be made, or somebody answers there.
        """
        listener = _bound(path, group)
        try:
            server = await asyncio.start_unix_server(self._connection, sock=listener, limit=request.HEAD_BYTES)
            yield
            server.close()  # those who are connected are not waited for
        finally:
            _gone(path)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        said: dict[str, Any] = {"call": "", "name": ""}
        try:
            # A client that goes, or takes nothing, is no trouble. Only the end of the whole process cancels, of which
            # Python 3.11's streams would make a traceback.
            with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                try:
                    if self._open > _CONNECTIONS:
                        raise Refused(503, "There are too many connections.")
                    await self._answer(reader, writer, said)
                except Refused as refused:
                    audit(**{"allowed": False, **said}, status=refused.status, why=refused.message)
                    body = json.dumps({"message": refused.message}).encode()
                    await _send(writer, refused.status, body, _JSON, refused.headers)
        finally:
            await _close(writer)
            self._open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._arrival):
                asked = await request.read(reader)
        except TimeoutError as error:
            raise Refused(408, "The request does not arrive.") from error
        if asked is None:
            return
        said |= {"call": f"{asked.method} {asked.target.partition('?')[0][:100]}"}
        call = calls.call(asked)
        said |= {"call": calls.KINDS.get(call.what, call.what), "name": call.name}
        if call.what == "events":
            await self._follow(call.query, reader, writer)
        elif call.what == "logs":
            container = await self._container(call.name)
            path = f"/containers/{container['Id']}/logs"
            await _stream(writer, self._engine.pieces(path, call.query), ANSWER_BYTES)
        elif call.what in calls.KINDS:
            await self._do(call, asked, writer, said)
        elif call.what == "approvals":
            await _send(writer, 200, json.dumps({"possible": self._checks.possible}).encode(), _JSON)
        elif call.what == "approvals/check":
            await self._check(call.query, asked, writer, said)
        elif call.what == "_ping":
            await _send(writer, 200, await self._engine.text("/_ping"), "text/plain")
        else:
            await _send(writer, 200, json.dumps(await self._read(call)).encode(), _JSON)

    async def _read(self, call: calls.Call) -> Any:
        if call.what in {"version", "info"}:
            return passing.passing(call.what, await self._engine.get(f"/{call.what}"))
        if call.what == "containers":
            found = await self._engine.get("/containers/json", call.query)
            return [passing.passing(call.what, each) for each in found if self._rules.sees(each)]
        container = await self._container(call.name)
        if call.what == "stats":
            container = await self._engine.get(f"/containers/{container['Id']}/stats", call.query)
        return passing.passing(call.what, container)

    async def _do(self, call: calls.Call, asked: Request, writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        container = await self._container(call.name)
        said["name"] = passing.name_of(container)
        answer = await self._actions.do(call, container, asked.headers, said)
        status = 200 if answer else 204
        audit(**said, status=status)
        await _send(writer, status, answer, _JSON)

    async def _check(
        self, query: Mapping[str, str], asked: Request, writer: asyncio.StreamWriter, said: dict[str, Any]
    ) -> None:
        action, token = asked.headers.get("x-stenobus-action", ""), asked.headers.get("x-stenobus-approval", "")
        said |= {"name": query["target"], "kind": query["kind"], "action": action[:64]}
        try:
            expires = self._checks.check(token, action, query["kind"], query["target"])
        except Guessing as error:
            raise Refused(429, str(error), {"Retry-After": str(error.wait)}) from error
        except ApprovalRefused as error:
            raise Refused(403, str(error)) from error
        audit(**said, allowed=True, status=200)
        await _send(writer, 200, json.dumps({"expires": expires}).encode(), _JSON)

    async def _container(self, name: str) -> Mapping[str, Any]:
        """A container as the engine sees it. Raises Refused, also for one that does not exist for those who ask."""
        found: Mapping[str, Any] = await self._engine.get(f"/containers/{name}/json")
        if not self._rules.sees(found):
            raise Refused(404, f"No such container: {name}")
        return found

    async def _follow(
        self, query: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._following >= _FOLLOWERS:
            raise Refused(503, "Too many follow the events.")
        self._following += 1
        following = asyncio.create_task(_stream(writer, self._events(query)))
        hung_up = asyncio.create_task(reader.read(1))  # nothing may happen for hours, in which it would stay unnoticed
        try:
            await asyncio.wait({following, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                await following
        finally:
            self._following -= 1
            following.cancel()
            hung_up.cancel()
            await asyncio.gather(following, hung_up, return_exceptions=True)

    async def _events(self, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        filters = json.loads(query.get("filters", "{}")) | {"type": ["container"]}
        async with aclosing(self._engine.lines("/events", {**query, "filters": json.dumps(filters)})) as batches:
            async for batch in batches:
                events = [found for each in batch if (found := passing.event(each)) and self._rules.sees(found)]
                yield b"".join(json.dumps(event).encode() + b"\n" for event in events)


def _bound(path: Path, group: int | None) -> socket.socket:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, suppress(ConnectionRefusedError):
            other.connect(str(path))
            raise FileExistsError(f"somebody answers at {path} already")
        path.unlink()  # left behind by one that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(0o660)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _gone(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _send(
    writer: asyncio.StreamWriter, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
) -> None:
    writer.write(_head(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}) + body)
    async with asyncio.timeout(_TAKEN):
        await writer.drain()


async def _stream(writer: asyncio.StreamWriter, pieces: AsyncGenerator[bytes, None], most: int | None = None) -> None:
    """An answer as it comes, of so many bytes at most; one that breaks off has no last chunk."""
    began, size = False, 0
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                if not began:
                    writer.write(_head(200, {"Content-Type": _BYTES, "Transfer-Encoding": "chunked"}))
                    began = True
                size += len(piece)
                if most is not None and size > most:
                    raise Refused(502, "The engine's answer is too large.")
                if piece:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                async with asyncio.timeout(_TAKEN):
                    await writer.drain()
        except Refused as refused:
            if not began:
                raise
            audit(call="answer", allowed=True, status=refused.status, why=refused.message)
            return
    writer.write(b"0\r\n\r\n")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_TAKEN):
            await writer.wait_closed()
    except (ConnectionError, TimeoutError):
        writer.transport.abort()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
