"""An executor at a socket of its own, before a real engine, and clients that speak whatever bytes they like."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stenobus_executor.approval import issue
from stenobus_executor.engine import Engine
from stenobus_executor.rules import Rules

from ..support.containers import Containers, busybox, containers, engine_client  # noqa: F401 -- fixtures
from ..support.executor import executing

KEY = b"a key of thirty-two bytes or more"


@dataclass(frozen=True)
class Answer:
    """What the executor said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


@dataclass
class Executor:
    """A running one."""

    socket: Path
    state: Path
    engine: Engine
    printed: Callable[[], str]
    _lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def audit(self) -> list[dict[str, Any]]:
        """What is on record."""
        lines = self.printed().splitlines()  # others print, too
        self._lines += [json.loads(line) for line in lines if line.startswith('{"time": ')]
        return self._lines

    async def raw(self, *pieces: bytes, eof: bool = False) -> bytes:
        """Send bytes, and return what comes back until the connection ends."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        found = b""
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if eof:
                writer.write_eof()
            async with asyncio.timeout(60):
                while piece := await reader.read(65536):
                    found += piece
        writer.close()
        return found

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """Ask as any client would."""
        said = {"Host": "executor", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in said.items())]
        return answer(await self.raw("\r\n".join([*lines, "", ""]).encode() + body))

    async def restart(self, name: str, action: str = "act-1", approval: str | None = None, t: int = 0) -> Answer:
        headers = {"X-Stenobus-Action": action} | ({"X-Stenobus-Approval": approval} if approval else {})
        return await self.ask("POST", f"/v1.41/containers/{name}/restart?t={t}", **headers)

    async def check(self, target: str, token: str, action: str = "act-1", kind: str = "restart") -> Answer:
        headers = {"X-Stenobus-Action": action, "X-Stenobus-Approval": token}
        return await self.ask("GET", f"/v1.41/approvals/check?kind={kind}&target={target}", **headers)

    async def limit(
        self, name: str, memory: int, processors: int = 0, action: str = "act-1", approval: str | None = None
    ) -> Answer:
        headers = {"X-Stenobus-Action": action} | ({"X-Stenobus-Approval": approval} if approval else {})
        body = json.dumps({"Memory": memory, "MemorySwap": memory, "NanoCpus": processors}).encode()
        return await self.ask("POST", f"/v1.41/containers/{name}/update", body, **headers)


def answer(raw: bytes) -> Answer:
    """The one answer in what came back."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if "content-length" in headers:
        assert len(body) == int(headers["content-length"])
    return Answer(int(first.split()[1]), headers, body)


def approval(name: str, action: str = "act-1", kind: str = "restart", key: bytes = KEY) -> str:
    """A person's word for an action, for ten minutes."""
    return issue(key, action, kind, name, time.time() + 600)


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Start]:
    """Starts executors; they end with the test."""
    async with AsyncExitStack() as stack:
        count = 0

        async def started(
            rules: Rules, *, key: bytes | None = KEY, state: Path | None = None, **options: Any
        ) -> Executor:
            nonlocal count
            count += 1
            socket, state = tmp_path / f"{count}.sock", state or tmp_path / "state.json"
            upstream = await stack.enter_async_context(executing(socket, rules, key, state=state, **options))
            return Executor(socket, state, upstream, lambda: capsys.readouterr().out)

        yield started


@pytest.fixture
async def executor(start: Start, containers: Containers) -> Executor:  # noqa: F811
    """One that sees the containers of the test, and may touch those labelled as plugins."""
    found: Executor = await start(Rules(visible=(f"{containers.prefix}-*",)))
    return found
