"""An OpenTelemetry collector: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """A span that arrived."""

    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    kind: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    failed: bool
    resource: dict[str, Any]


class Collector:
    """What arrived, and where to send it."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.url = ""
        #: Set it to leave senders without an answer.
        self.silent = Event()
        self.released = Event()

    def of(self, subject: str, **attributes: Any) -> list[Seen]:
        """Spans of handlers of a subject, in order of arrival."""
        wanted = {f"stenobus.{name}": value for name, value in attributes.items()}.items()
        return [s for s in self.spans if s.name == f"process {subject}" and wanted <= s.attributes.items()]

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += [_seen(span, _attributes(resource.resource)) for span in scope.spans]


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that runs in threads of its own."""
    collected = Collector()

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if collected.silent.is_set():
                collected.released.wait(30)
            collected.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    server.daemon_threads = True
    collected.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield collected
    collected.released.set()
    server.shutdown()
    server.server_close()


def _seen(span: Any, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        kind=span.kind,
        attributes=_attributes(span),
        events=tuple(str(_attributes(event).get("exception.message", event.name)) for event in span.events),
        failed=span.status.code == 2,
        resource=resource,
    )


def _attributes(thing: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes}
