"""A local server that speaks Bedrock's Converse on the wire, streams with their checksums among it."""

from __future__ import annotations

import json
import struct
import threading
import urllib.parse
import zlib
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Fields of a request. Like the real one, the server refuses any other.
FIELDS = {"messages", "system", "inferenceConfig", "outputConfig", "additionalModelRequestFields"}
LIMITS = {"maxTokens", "temperature", "topP", "stopSequences"}


class ConverseServer:
    """Replies in the order in which they were scripted, and keeps what was asked: model, way and body."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, dict[str, Any]]] = []
        self.released = threading.Event()
        #: Set once a client hung up before the end of its answer.
        self.left = threading.Event()
        self.replies: deque[tuple[int, dict[str, str], Iterable[bytes | threading.Event], bool]] = deque()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    # --- what to answer ----------------------------------------------------------------------------------------------

    def completes(self, text: str, stop: str = "end_turn", usage: tuple[int, int] = (12, 5)) -> None:
        message = {"role": "assistant", "content": [{"text": text}]}
        counted = {"inputTokens": usage[0], "outputTokens": usage[1], "totalTokens": sum(usage)}
        body = {"output": {"message": message}, "stopReason": stop, "usage": counted, "metrics": {"latencyMs": 7}}
        self._replies(200, json.dumps(body).encode())

    def fails(self, status: int, name: str, message: str = "It failed.", **headers: str) -> None:
        named = {"x-amzn-ErrorType": name, **{key.replace("_", "-"): value for key, value in headers.items()}}
        self._replies(status, json.dumps({"message": message}).encode(), named)

    def sends(self, body: bytes) -> None:
        self._replies(200, body)

    def streams(self, *pieces: bytes | threading.Event, ends: bool = True) -> None:
        """Frames as they are given, waiting where an event is; without an end the connection breaks off."""
        headers = {"Content-Type": "application/vnd.amazon.eventstream"}
        self.replies.append((200, headers, list(pieces), ends))

    def drips(self, piece: bytes) -> None:
        """The same frame now and then, for as long as anybody listens."""
        pieces = iter(lambda: b"" if self.released.wait(0.01) else piece, b"")
        self.replies.append((200, {"Content-Type": "application/vnd.amazon.eventstream"}, pieces, False))

    def _replies(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.replies.append((status, {"Content-Type": "application/json", **(headers or {})}, [body], True))


def event(kind: str, **body: Any) -> bytes:
    """A frame of a stream: an event."""
    return _frame({":message-type": "event", ":event-type": kind}, body)


def exception(kind: str, message: str) -> bytes:
    """A frame of a stream: the exception that ends it."""
    return _frame({":message-type": "exception", ":exception-type": kind}, {"message": message})


def answer(*parts: str, stop: str = "end_turn", usage: tuple[int, int] = (12, 5)) -> list[bytes]:
    """The frames of a whole answer."""
    counted = {"inputTokens": usage[0], "outputTokens": usage[1], "totalTokens": sum(usage)}
    return [
        event("messageStart", role="assistant"),
        *(event("contentBlockDelta", contentBlockIndex=0, delta={"text": part}) for part in parts),
        event("contentBlockStop", contentBlockIndex=0),
        event("messageStop", stopReason=stop),
        event("metadata", usage=counted, metrics={"latencyMs": 7}),
    ]


def _frame(headers: dict[str, str], body: dict[str, Any]) -> bytes:
    packed = b""
    for name, value in {**headers, ":content-type": "application/json"}.items():
        packed += (
            struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        )
    payload = json.dumps(body).encode()
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ConverseServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, model, way = self.path.split("/")
        self.owner.received.append((urllib.parse.unquote(model), way, body))
        if complaint := self._complaint(way, body):
            status, headers, pieces, ends = 400, {"x-amzn-ErrorType": "ValidationException"}, [], True
            pieces = [json.dumps({"message": complaint}).encode()]
        else:
            status, headers, pieces, ends = self.owner.replies.popleft()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                if isinstance(piece, threading.Event):
                    piece.wait()
                else:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
            if ends:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            ends = False
            self.owner.left.set()
        self.close_connection = not ends

    def _complaint(self, way: str, body: dict[str, Any]) -> str:
        if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return "the request is not signed"
        if way not in {"converse", "converse-stream"} or set(body) - FIELDS:
            return f"extraneous key in {way}: {sorted(set(body) - FIELDS)}"
        if set(body.get("inferenceConfig", {})) - LIMITS:
            return "extraneous key in inferenceConfig"
        roles = [message["role"] for message in body["messages"]]
        if roles != [("user", "assistant")[number % 2] for number in range(len(roles))]:
            return "A conversation must start with a user message and alternate between user and assistant roles."
        blocks = [block for message in body["messages"] for block in message["content"]] + body.get("system", [])
        if any(set(block) != {"text"} or not block["text"] for block in blocks):
            return "The text field in the ContentBlock object is blank."
        return ""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
