"""Reads from a Docker engine over its socket. There is nothing here that could change anything: only GET."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httpx2

from .containers import Container, container
from .errors import EngineUnavailable, NoSuchContainer

#: Version of the API that is spoken; the oldest that still has everything used here, so that newer engines do, too.
_VERSION: Final = "v1.41"
#: Bytes of one answer, and of one event.
_LARGEST: Final = 8 * 1024 * 1024
_LARGEST_EVENT: Final = 256 * 1024
#: Bytes and lines of a log that are read at once.
LOG_BYTES: Final = 64 * 1024
LOG_LINES: Final = 200
#: Bytes of one line of a log; the rest is cut off.
LINE_BYTES: Final = 2000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_HEADER: Final = struct.Struct(">BxxxL")


class Engine:
    """One engine.

    Args:
        socket: path of its unix socket; a read-only one is enough.
        timeout: seconds one answer may take.
    """

    def __init__(self, socket: str = "/var/run/docker.sock", timeout: float = 10.0) -> None:
        self.socket = socket
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=socket),
            base_url=f"http://engine/{_VERSION}",
            timeout=timeout,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def version(self) -> dict[str, Any]:
        """What the engine is, and the time of its host. Raises EngineUnavailable."""
        found: dict[str, Any] = await self._get("/info")
        return found

    async def containers(self) -> list[dict[str, Any]]:
        """All containers, stopped ones included, as the engine lists them. Raises EngineUnavailable."""
        found: list[dict[str, Any]] = await self._get("/containers/json", {"all": "true"})
        return found

    async def inspect(self, name: str) -> Container:
        """One container. Raises NoSuchContainer, EngineUnavailable."""
        return container(await self._get(_of(name, "json")))

    async def stats(self, name: str) -> dict[str, Any]:
        """One look at what a container uses. Raises NoSuchContainer, EngineUnavailable."""
        path = _of(name, "stats")
        found: dict[str, Any] = await self._get(path, {"stream": "false", "one-shot": "true"})
        return found

    async def logs(
        self, name: str, *, tail: int = LOG_LINES, since: float | None = None, tty: bool = False, stamped: bool = False
    ) -> list[str]:
        """The last lines of both outputs, in their order, each at most :data:`LINE_BYTES` long.

        Args:
            tail: lines.
            since: seconds since the epoch.
            tty: whether the container has a terminal, whose output is one stream.
            stamped: put the engine's time of each line before it.

        Raises:
            NoSuchContainer: it is gone.
            EngineUnavailable: the engine does not answer.
        """
        query = {"stdout": "true", "stderr": "true", "tail": str(tail), "timestamps": str(stamped).lower()}
        if since is not None:
            query["since"] = f"{since:.9f}"
        raw = bytearray()
        async for part in self._stream(_of(name, "logs"), query):
            raw += part
            if len(raw) > 16 * LOG_BYTES:
                break  # lines without an end: what is there will do
        text = bytes(raw) if tty else _demultiplexed(raw)
        lines = text[-LOG_BYTES:].decode(errors="replace").splitlines()
        return [line[:LINE_BYTES] for line in lines if line.strip()][-tail:]

    async def events(
        self, filters: Mapping[str, list[str]], since: float | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Events as they happen, after those since a time that the engine still remembers (256 at most).

        Raises:
            EngineUnavailable: the engine does not answer, or the stream ended.
        """
        query = {"filters": json.dumps(filters)}
        if since is not None:
            query["since"] = f"{since:.9f}"
        rest = b""
        async for part in self._stream("/events", query, endless=True):
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > _LARGEST_EVENT:
                raise EngineUnavailable(f"The engine at {self.socket} sends an event without an end.")
            for line in lines:
                if line.strip():
                    yield _parsed(line, self.socket)
        raise EngineUnavailable(f"The engine at {self.socket} ended the stream of events.")

    async def history(self, name: str, events: list[str], since: float, until: float) -> list[dict[str, Any]]:
        """Events of one container within a time, the oldest first, as far as the engine still remembers them.

        Args:
            events: their kinds.
            since, until: seconds since the epoch.

        Raises:
            EngineUnavailable: the engine does not answer.
        """
        filters = json.dumps({"type": ["container"], "container": [name], "event": events})
        query = {"filters": filters, "since": f"{since:.9f}", "until": f"{until:.9f}"}
        body = bytearray()
        async for part in self._stream("/events", query):
            body += part
            if len(body) > _LARGEST:
                raise EngineUnavailable(f"The engine at {self.socket} sends too many events.")
        return [_parsed(line, self.socket) for line in body.splitlines() if line.strip()]

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        body = bytearray()
        async for part in self._stream(path, query or {}):
            body += part
            if len(body) > _LARGEST:
                raise EngineUnavailable(f"The answer of the engine at {self.socket} to {path} is too large.")
        return _parsed(body, self.socket)

    async def _stream(
        self, path: str, query: Mapping[str, str], *, endless: bool = False
    ) -> AsyncGenerator[bytes, None]:
        timeout = self._client.timeout
        if endless:  # nothing may happen for hours
            timeout = httpx2.Timeout(timeout.connect, read=None)
        try:
            async with self._client.stream("GET", path, params=dict(query), timeout=timeout) as response:
                if response.status_code == 404:
                    raise NoSuchContainer(f"The engine knows nothing at {path}.")
                if response.status_code != 200:
                    raise EngineUnavailable(f"The engine at {self.socket} answers {path} with {response.status_code}.")
                async for part in response.aiter_raw():
                    yield part
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise EngineUnavailable(
                f"The engine at {self.socket} does not answer ({type(error).__name__}); check STENOBUS_MONITOR_ENGINE."
            ) from error


def _of(name: str, what: str) -> str:
    """Path of something about a container. The engine cleans up what it is given, so a path in a name leads elsewhere.

    Raises:
        NoSuchContainer: no container can have that name.
    """
    if not _NAME.fullmatch(name):
        raise NoSuchContainer(f"{name[:100]!r} is no name of a container.")
    return f"/containers/{name}/{what}"


def _parsed(data: bytes | bytearray, socket: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EngineUnavailable(f"The engine at {socket} sends something that is no JSON.") from error


def _demultiplexed(raw: bytes | bytearray) -> bytes:
    """Both outputs in one: each piece has a header of its stream and its length."""
    found, place = bytearray(), 0
    while place + _HEADER.size <= len(raw):
        _, size = _HEADER.unpack_from(raw, place)
        place += _HEADER.size
        found += raw[place : place + size]
        place += size
    return bytes(found)
