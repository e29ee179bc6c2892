"""A local server that speaks OpenAI's chat completions on the wire and answers what a test scripted."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]

#: Fields of a chat completion's body. Like the real one, the server refuses any other.
FIELDS = {
    "model", "messages", "temperature", "max_completion_tokens", "max_tokens", "response_format",
    "chat_template_kwargs",
}  # fmt: skip


LLM_NAMES = (
    "LLM_INT4_HOST", "LLM_INT4_PORT", "LLM_FP16_HOST", "LLM_FP16_PORT", "LLM_TIMEOUT", "LLM_ROUTING_STRATEGY",
    "BEDROCK_MODEL_ID", "AWS_REGION",
)  # fmt: skip


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)


class OpenAIServer:
    """Replies in the order in which they were scripted, and keeps what was asked."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.models = ["first-model", "second-model"]
        self._replies: deque[Reply] = deque()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    # --- what to answer ----------------------------------------------------------------------------------------------

    def completes(
        self, text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (12, 5), **message: Any
    ) -> None:
        body: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "served-model",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
            ],
        }
        if usage is not None:
            body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
        self.sends(200, body)

    def fails(self, status: int, message: str = "It failed.", code: str | None = None, **headers: str) -> None:
        error = {"message": message, "type": "error", "param": None, "code": code}
        self.sends(status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})

    def sends(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
        self._replies.append(lambda writer: _write(writer, status, body, headers or {}))

    def breaks_off(self) -> None:
        async def reply(writer: asyncio.StreamWriter) -> None:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"id": ')
            await writer.drain()

        self._replies.append(reply)

    def drips(self, released: asyncio.Event) -> None:
        """A byte now and then, so that no single read ever times out."""

        async def reply(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while not released.is_set() and not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.wait([asyncio.ensure_future(released.wait())], timeout=0.02)

        self._replies.append(reply)

    # --- the wire ----------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = head[0].split(" ")
            await self._answer(method, Received(path, headers, json.loads(content) if content else {}), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, which some tests are about
        finally:
            writer.close()

    async def _answer(self, method: str, received: Received, writer: asyncio.StreamWriter) -> None:
        self.received.append(received)
        if (method, received.path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
            await _write(writer, 200, {"object": "list", "data": listed}, {})
        elif complaint := _complaint(method, received):
            await _write(writer, 400, {"error": {"message": complaint, "type": "invalid_request_error"}}, {})
        elif not self._replies:
            await _write(writer, 500, {"error": {"message": "the test scripted no reply"}}, {})
        else:
            await self._replies.popleft()(writer)


def _complaint(method: str, received: Received) -> str:
    body = received.body
    if (method, received.path) != ("POST", "/v1/chat/completions"):
        return f"Invalid URL ({method} {received.path})"
    if unknown := set(body) - FIELDS:
        return f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}"
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not messages or any(set(message) != {"role", "content"} for message in messages):
        return "'messages' is malformed"
    return ""


async def _write(
    writer: asyncio.StreamWriter, status: int, body: dict[str, Any] | bytes, headers: dict[str, str]
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content)
    await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(autouse=True)
def no_keys_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have an account; the tests must not see it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_MODEL", *LLM_NAMES):
        monkeypatch.delenv(name, raising=False)
