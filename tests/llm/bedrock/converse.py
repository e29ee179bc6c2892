"""A local server that speaks Bedrock's Converse on the wire, streams with their checksums among it."""

from __future__ import annotations

import itertools
import json
import struct
import threading
import urllib.parse
import zlib
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .rules import complaint

Counted = tuple[int, int]


class ConverseServer:
    """Replies in the order in which they were scripted, and keeps what was asked: model, way and body."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, dict[str, Any]]] = []
        self.released = threading.Event()
        #: Set once a client hung up before the end of its answer.
        self.left = threading.Event()
        #: Ports that clients came from.
        self.ports: list[int] = []
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

    def completes(
        self, text: str, stop: str = "end_turn", usage: Counted = (12, 5), *blocks: dict[str, Any], **cache: int
    ) -> None:
        """An answer in one: its text, further blocks, and what was counted of a cache."""
        content = [*([{"text": text}] if text else []), *blocks]
        message = {"role": "assistant", "content": content}
        counted = _counted(usage, cache)
        body = {"output": {"message": message}, "stopReason": stop, "usage": counted, "metrics": {"latencyMs": 7}}
        self._replies(200, json.dumps(body).encode())

    def fails(self, status: int, name: str, message: str = "It failed.", **headers: str) -> None:
        named = {"x-amzn-ErrorType": name, **{key.replace("_", "-"): value for key, value in headers.items()}}
        self._replies(status, json.dumps({"message": message}).encode(), named)

    def sends(self, body: bytes, status: int = 200) -> None:
        self._replies(status, body)

    def streams(self, *pieces: bytes | threading.Event, ends: bool = True) -> None:
        """Frames as they are given, waiting where an event is; without an end the connection breaks off."""
        headers = {"Content-Type": "application/vnd.amazon.eventstream"}
        self.replies.append((200, headers, list(pieces), ends))

    def holds(self) -> None:
        """Not a byte, until the server is released."""
        self.replies.append((0, {}, [], False))

    def drips(self, piece: bytes, seconds: float = 0.01, *before: bytes, status: int = 200) -> None:
        """The same bytes now and then, for as long as anybody listens."""
        pieces = iter(lambda: b"" if self.released.wait(seconds) else piece, b"")
        headers = {"Content-Type": "application/vnd.amazon.eventstream"}
        self.replies.append((status, headers, itertools.chain(before, pieces), False))

    def _replies(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.replies.append((status, {"Content-Type": "application/json", **(headers or {})}, [body], True))


def event(kind: str, **body: Any) -> bytes:
    """A frame of a stream: an event."""
    return frame({":message-type": "event", ":event-type": kind}, json.dumps(body).encode())


def exception(kind: str, message: str) -> bytes:
    """A frame of a stream: the exception that ends it."""
    return frame({":message-type": "exception", ":exception-type": kind}, json.dumps({"message": message}).encode())


def text(part: str, index: int = 0) -> bytes:
    """A frame of a stream: a piece of text."""
    return event("contentBlockDelta", contentBlockIndex=index, delta={"text": part})


def call(index: int, id: str, name: str, *parts: str) -> list[bytes]:
    """The frames of a block that asks for a tool."""
    return [
        event("contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": id, "name": name}}),
        *(event("contentBlockDelta", contentBlockIndex=index, delta={"toolUse": {"input": part}}) for part in parts),
        event("contentBlockStop", contentBlockIndex=index),
    ]


def end(stop: str = "end_turn", usage: Counted = (12, 5), **cache: int) -> list[bytes]:
    """The frames that end a stream."""
    return [
        event("messageStop", stopReason=stop),
        event("metadata", usage=_counted(usage, cache), metrics={"latencyMs": 7}),
    ]


def answer(*parts: str, stop: str = "end_turn", usage: Counted = (12, 5)) -> list[bytes]:
    """The frames of a whole answer."""
    return [
        event("messageStart", role="assistant"),
        *(text(part) for part in parts),
        event("contentBlockStop", contentBlockIndex=0),
        *end(stop, usage),
    ]


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """A frame of a stream, with its checksums."""
    packed = b""
    for name, value in {**headers, ":content-type": "application/json"}.items():
        packed += (
            struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _counted(usage: Counted, cache: dict[str, int]) -> dict[str, int]:
    return {"inputTokens": usage[0], "outputTokens": usage[1], "totalTokens": sum(usage) + sum(cache.values()), **cache}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: ConverseServer

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.owner.left.set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, model, way = self.path.split("/")
        self.owner.received.append((urllib.parse.unquote(model), way, body))
        self.owner.ports.append(self.client_address[1])
        if wrong := self._unsigned() or complaint(way, body):
            status, headers, ends = 400, {"x-amzn-ErrorType": "ValidationException"}, True
            pieces: Iterable[bytes | threading.Event] = [json.dumps({"message": wrong}).encode()]
        else:
            status, headers, pieces, ends = self.owner.replies.popleft()
        if not status:
            self.owner.released.wait()
            self.close_connection = True
            return
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
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

    def _unsigned(self) -> str:
        signed = self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=")
        return "" if signed else "the request is not signed"

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
