"""A local server that speaks OpenAI's chat completions on the wire and answers what a test scripted.

It is as strict as the real one: it refuses fields it does not know, and messages that do not follow each other.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Reply = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]
#: One event's data, raw bytes of the body, an event to wait for, or :data:`CUT`.
Step = dict[str, Any] | bytes | asyncio.Event | None

#: The server drops the connection here.
CUT: Final = None
DONE: Final = b"data: [DONE]\n\n"

_FIELDS = {
    "model", "messages", "temperature", "max_completion_tokens", "max_tokens", "response_format", "tools",
    "tool_choice", "stream", "stream_options", "chat_template_kwargs",
}  # fmt: skip
_MESSAGE = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


def delta(content: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk that brings the next part of the message."""
    return _chunk({"content": content, **fields} if content is not None else fields)


def finish(reason: str = "stop") -> dict[str, Any]:
    """The chunk that says why the model stopped."""
    return _chunk({}, reason)


def usage(prompt: int = 12, completion: int = 5, **details: Any) -> dict[str, Any]:
    """The chunk that counts the tokens; it has no choices, and comes only to who asked for it."""
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**_chunk({}), "choices": [], "usage": {**counted, **details}}


def error(message: str, code: str | int | None = None, kind: str = "server_error") -> dict[str, Any]:
    """An error in the middle of a stream."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "served-model",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
    }


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
        #: What /tokenize says, which only vLLM has; None for a server without it.
        self.counts: int | None = None
        #: Connections that were made so far.
        self.connections = 0
        #: Gives the text of an answer that was not scripted; without it such a request fails.
        self.author: Callable[[Received], str] | None = None
        self._replies: deque[Reply] = deque()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    @property
    def connected(self) -> int:
        """Connections that are open now; all that came over the others was read."""
        return len(self._writers)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def open(self) -> int:
        """Connections that stand."""
        return len(self._writers)

    # --- what to answer ----------------------------------------------------------------------------------------------

    def completes(
        self, text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (12, 5), **message: Any
    ) -> None:
        """Answer in one; ``message`` adds fields to the message."""
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

    def streams(self, *texts: str) -> None:
        """Answer with these texts, one event each, and all that belongs to a stream."""
        self.streams_steps(delta("", role="assistant"), *(delta(text) for text in texts), finish(), usage(), DONE)

    def streams_steps(self, *steps: Step) -> None:
        """Answer with a stream of these steps and nothing else."""

        async def reply(received: Received, writer: asyncio.StreamWriter) -> None:
            await _stream(received, writer, steps)

        self._replies.append(reply)

    def fails(self, status: int, message: str = "It failed.", code: str | None = None, **headers: str) -> None:
        error = {"message": message, "type": "error", "param": None, "code": code}
        self.sends(status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})

    def sends(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
        self._replies.append(lambda _, writer: _write(writer, status, body, headers or {}))

    def breaks_off(self) -> None:
        async def reply(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"id": ')
            await writer.drain()
            writer.close()

        self._replies.append(reply)

    def drips(self, released: asyncio.Event) -> None:
        """A byte now and then, so that no single read ever times out."""

        async def reply(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while not released.is_set() and not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.wait([asyncio.ensure_future(released.wait())], timeout=0.02)
            writer.close()

        self._replies.append(reply)

    # --- the wire ----------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = head[0].split(" ")
                await self._answer(method, Received(path, headers, json.loads(content) if content else {}), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, which some tests are about, or needs no more
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, method: str, received: Received, writer: asyncio.StreamWriter) -> None:
        self.received.append(received)
        if (method, received.path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
            await _write(writer, 200, {"object": "list", "data": listed}, {})
        elif (method, received.path) == ("POST", "/tokenize") and self.counts is not None:
            if complaint := next(_count_complaints(received.body), None):
                await _refuse(writer, 400, complaint)
            else:
                counted = {"count": self.counts, "max_model_len": 8192, "tokens": [0] * self.counts, "token_strs": None}
                await _write(writer, 200, counted, {})
        elif (method, received.path) != ("POST", "/v1/chat/completions"):
            await _refuse(writer, 404, f"Invalid URL ({method} {received.path})")
        elif complaint := next(_complaints(received.body), None):
            await _refuse(writer, 400, complaint)
        elif not self._replies and self.author is not None:
            self.completes(self.author(received))
            await self._replies.popleft()(received, writer)
        elif not self._replies:
            await _refuse(writer, 500, "the test scripted no reply")
        else:
            await self._replies.popleft()(received, writer)


# --- what the real server refuses ------------------------------------------------------------------------------------


def _complaints(body: dict[str, Any]) -> Iterator[str]:
    if unknown := set(body) - _FIELDS:
        yield f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}"
    if not isinstance(body.get("model"), str):
        yield "you must provide a model parameter"
    if "stream_options" in body and not body.get("stream"):
        yield "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    if set(body.get("stream_options", {})) - {"include_usage"}:
        yield "Unknown parameter: 'stream_options'."
    yield from _tool_complaints(body)
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        yield "'messages' is malformed"
    else:
        yield from _message_complaints(body["messages"])


def _count_complaints(body: dict[str, Any]) -> Iterator[str]:
    if unknown := set(body) - {"model", "messages", "tools", "chat_template_kwargs"}:
        yield f"Extra inputs are not permitted: {', '.join(sorted(unknown))}"
    yield from _tool_complaints(body)
    yield from _message_complaints(body["messages"])


def _tool_complaints(body: dict[str, Any]) -> Iterator[str]:
    names = []
    for tool in body.get("tools", []):
        if set(tool) != {"type", "function"} or tool["type"] != "function":
            yield "'tools' is malformed"
        elif set(tool["function"]) - {"name", "description", "parameters", "strict"} or not tool["function"]["name"]:
            yield "'tools.function' is malformed"
        names.append(tool["function"]["name"])
    if body.get("tools") == []:
        yield "[] is too short - 'tools'"
    if "tool_choice" in body:
        if not names:
            yield "'tool_choice' is only allowed when 'tools' are specified."
        named = [{"type": "function", "function": {"name": name}} for name in names]
        if body["tool_choice"] not in ["none", "auto", "required", *named]:
            yield "Invalid value for 'tool_choice'."


def _message_complaints(messages: list[dict[str, Any]]) -> Iterator[str]:
    open_calls: set[str] = set()
    for message in messages:
        fields = _MESSAGE.get(message.get("role", ""), set())
        if not {"role", "content"} <= set(message) <= fields:
            yield "'messages' is malformed"
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                yield "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            open_calls.discard(message.get("tool_call_id", ""))
        elif open_calls:
            yield "An assistant message with 'tool_calls' must be followed by tool messages responding to each of them."
        for call in message.get("tool_calls", []):
            function = call.get("function", {})
            if set(call) != {"id", "type", "function"} or call["type"] != "function":
                yield "'tool_calls' is malformed"
            if set(function) != {"name", "arguments"} or not isinstance(function["arguments"], str):
                yield "'tool_calls.function' is malformed"
            open_calls.add(call["id"])
        yield from _content_complaints(message)
    if open_calls:
        yield "An assistant message with 'tool_calls' must be followed by tool messages responding to each of them."


def _content_complaints(message: dict[str, Any]) -> Iterator[str]:
    content = message["content"]
    if message["role"] == "user" and isinstance(content, list) and content:
        for part in content:
            if part.get("type") == "text" and set(part) == {"type", "text"} and part["text"]:
                continue
            if part.get("type") != "image_url" or set(part) != {"type", "image_url"}:
                yield "'content' has a malformed part"
            elif not _is_image(part["image_url"]):
                yield "You uploaded an unsupported image."
    elif content is None:
        if not message.get("tool_calls"):
            yield "Invalid value for 'content': expected a string, got null."
    elif not isinstance(content, str):
        yield "Invalid type for 'content'."


def _is_image(url: dict[str, Any]) -> bool:
    kind, _, data = str(url.get("url")).partition(";base64,")
    if set(url) - {"url", "detail"} or kind.removeprefix("data:image/") not in {"png", "jpeg", "gif", "webp"}:
        return False
    try:
        return len(base64.b64decode(data, validate=True)) > 0
    except binascii.Error:
        return False


# --- bytes -----------------------------------------------------------------------------------------------------------


async def _stream(received: Received, writer: asyncio.StreamWriter, steps: Iterable[Step]) -> None:
    counted = received.body.get("stream_options", {}).get("include_usage", False)
    if not received.body.get("stream"):
        await _refuse(writer, 500, "the test scripted a stream, and none was asked for")
        return
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for step in steps:
        if step is CUT:
            writer.close()
            return
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, bytes):
            await _part(writer, step)
        elif step.get("usage") is None or counted:
            # Who asked for the usage sees the field in every chunk.
            event = {"usage": None, **step} if counted and "choices" in step else step
            await _part(writer, b"data: %s\n\n" % json.dumps(event).encode())
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _part(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await writer.drain()


async def _refuse(writer: asyncio.StreamWriter, status: int, message: str) -> None:
    await _write(writer, status, {"error": {"message": message, "type": "invalid_request_error"}}, {})


async def _write(
    writer: asyncio.StreamWriter, status: int, body: dict[str, Any] | bytes, headers: dict[str, str]
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content)
    await writer.drain()
