"""AWS on loopback: a server that speaks its protocols over HTTP, and one that answers as nobody wants it to."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


@contextmanager
def endpoint() -> Iterator[str]:
    """The address of an empty server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = _one_by_one(server._server.app)
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # All servers of a process share their state.
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"))
    yield url
    server.stop()


def _one_by_one(app: Any) -> Any:
    """The server behind a lock: AWS compares and writes in one step; this one loses updates between its threads."""
    lock = threading.Lock()

    def serialised(environ: Any, start_response: Any) -> Any:
        with lock:
            return app(environ, start_response)

    return serialised


def guarded(url: str) -> None:
    """From now on the server checks signatures and policies."""
    _guard(url, 0)


def unguarded(url: str) -> None:
    """Nobody is asked who he is any more."""
    _guard(url, sys.maxsize)


def _guard(url: str, requests: int) -> None:
    """Let that many requests pass unchecked."""
    plain = {"Content-Type": "text/plain"}
    address = f"{url}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(address, str(requests).encode(), plain, method="POST"))


def environment(url: str) -> dict[str, str]:
    """What an operator sets, and nothing of this machine's own."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def enter(monkeypatch: pytest.MonkeyPatch, url: str, **more: str) -> None:
    """Make it the environment of this process."""
    names = [name for name in os.environ if name.startswith(("AWS_", "STENOBUS_", "TRACKING_", "OUTPUT_"))]
    for name in names:
        monkeypatch.delenv(name)
    for name, value in {**environment(url), **more}.items():
        monkeypatch.setenv(name, value)


class Answer(NamedTuple):
    """What an endpoint says instead of doing its work."""

    status: int
    code: str = ""
    silence: float = 0.0
    message: str = "No."


class Gatekeeper:
    """Stands before an endpoint: passes requests on, or gives an answer of its own, and counts both."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        #: Decides by the operation (``PutItem``) what is answered; None passes the request on.
        self.answer: Callable[[str], Answer | None] = lambda operation: None
        self.seen: list[str] = []
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                gate.seen.append(operation)
                answer = gate.answer(operation)
                status, headers, content = gate._pass(self.headers, body) if answer is None else gate._say(answer)
                with suppress(OSError):  # the client had no patience
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,)).start()  # seconds until it sees its end

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass(self, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._behind.hostname or "", self._behind.port)
        try:
            connection.request("POST", "/", body, dict(headers))
            answer = connection.getresponse()
            kind = {"Content-Type": answer.headers.get("Content-Type", "")}
            return answer.status, kind, answer.read()
        finally:
            connection.close()

    @staticmethod
    def _say(answer: Answer) -> tuple[int, dict[str, str], bytes]:
        time.sleep(answer.silence)
        error = {"__type": f"com.amazonaws.dynamodb.v20120810#{answer.code}", "message": answer.message}
        return answer.status, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(error).encode()
