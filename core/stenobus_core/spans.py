"""One span per attempt of a handler, in the trace of its run.

The id of a span follows from the delivery, so that a retry can link to the attempt before it, which may have happened,
or died, in another process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from importlib.metadata import version
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stenobus_bus import Delivery, Envelope, Observer, Received
from stenobus_bus.envelope import derived_id
from stenobus_bus.traceparent import Trace, working
from stenobus_contracts import Reason

from .plugin import Handler

_SCOPE: Final = "stenobus"


def provider(exporters: Iterable[SpanExporter]) -> TracerProvider:
    """The process's tracer provider, so that handlers' own spans go the same way; what is there already is used.

    Sampling, limits, batches and further attributes are the SDK's own ``OTEL_…`` variables.
    """
    found = trace.get_tracer_provider()
    if not isinstance(found, TracerProvider):
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        attributes = {"service.version": version("stenobus-core")} | ({} if named else {"service.name": "stenobus"})
        found = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        trace.set_tracer_provider(found)
    for exporter in exporters:
        found.add_span_processor(BatchSpanProcessor(exporter))
    return found


class Ids(IdGenerator):
    """The wanted ids for the span that is being started, random ones for any other."""

    wanted: Final[ContextVar[tuple[int, int] | None]] = ContextVar("wanted", default=None)

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_trace_id(self) -> int:
        """16 bytes."""
        wanted = self.wanted.get()
        return wanted[0] if wanted else self._others.generate_trace_id()

    def generate_span_id(self) -> int:
        """8 bytes."""
        wanted = self.wanted.get()
        return wanted[1] if wanted else self._others.generate_span_id()


class Spans(Observer):
    """Records one handler's attempts.

    While the handler runs, its span is the current one: spans of its own code nest in it, and what it publishes
    carries it as parent.
    """

    def __init__(self, traces: TracerProvider, handler: Handler) -> None:
        if not isinstance(traces.id_generator, Ids):
            traces.id_generator = Ids(traces.id_generator)  # type: ignore[assignment]  # any IdGenerator will do
        self._tracer = traces.get_tracer(_SCOPE, version("stenobus-core"))
        self._handler = handler
        #: The spans of what is in hand, and what was current before, by place in the stream.
        self._open: dict[int, tuple[Span, Token[Context], Token[str | None]]] = {}

    async def before(self, received: Received[Any]) -> None:
        """Start a span and make it the current one."""
        span = self._start(received.envelope, received.delivery, received.attempt)
        context = span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"
        self._open[received.delivery.sequence] = span, attach(trace.set_span_in_context(span)), working.set(parent)

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        """The outputs are stored."""
        self._end(received.delivery, "done")

    async def skipped(self, envelope: Envelope, delivery: Delivery) -> None:
        """A duplicate, which is worth a span of its own: it explains a redelivery that did nothing."""
        span = self._start(envelope, delivery, delivery.count)
        span.set_attribute("stenobus.result", "duplicate")
        span.end()

    async def interrupted(self, received: Received[Any]) -> None:
        """The event goes back; the next delivery links to this span."""
        self._end(received.delivery, "handed back")

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        """The next attempt links to this span."""
        self._end(received.delivery, "retry", error, **{"stenobus.retry_delay": round(delay, 3)})

    async def buried(self, envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
        """The end of an attempt, or of an event that never came to one."""
        if delivery.sequence not in self._open:
            now = self._start(envelope, delivery, delivery.count)
            self._finish(now, "dead letter", error, {"stenobus.reason": reason})
            return
        self._end(delivery, "dead letter", error, **{"stenobus.reason": reason})

    def _start(self, envelope: Envelope, delivery: Delivery, attempt: int) -> Span:
        found = envelope.trace
        wanted = Ids.wanted.set((int(found.id, 16), self._span_id(delivery, delivery.count)))
        try:
            return self._tracer.start_span(
                f"process {self._handler.contract.subject}",
                context=_parent(found),
                kind=SpanKind.CONSUMER,
                links=self._earlier(found, delivery),
                attributes=self._attributes(envelope, delivery, attempt),
            )
        finally:
            Ids.wanted.reset(wanted)

    def _attributes(self, envelope: Envelope, delivery: Delivery, attempt: int) -> dict[str, str | int | float]:
        handler = self._handler
        optional = {"stenobus.replay": envelope.replay, "stenobus.causation": envelope.causation}
        return {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": handler.contract.subject,
            "messaging.consumer.group.name": handler.name,
            "messaging.message.id": envelope.id,
            "messaging.message.conversation_id": envelope.run,
            "stenobus.run": envelope.run,
            "stenobus.plugin": handler.plugin,
            "stenobus.handler": handler.name,
            "stenobus.attempt": attempt,
            "stenobus.delivery": delivery.count,
            "stenobus.stream": delivery.stream,
            "stenobus.sequence": delivery.sequence,
            "stenobus.waited": round(max(0.0, time.time() - delivery.timestamp / 1e9), 6),
            **{name: value for name, value in optional.items() if value},
        }

    def _earlier(self, found: Trace, delivery: Delivery) -> list[Link]:
        if delivery.count == 1:
            return []
        earlier = self._span_id(delivery, delivery.count - 1)
        context = SpanContext(int(found.id, 16), earlier, is_remote=True, trace_flags=TraceFlags(found.sampled))
        return [Link(context, {"stenobus.link": "earlier attempt"})]

    def _span_id(self, delivery: Delivery, count: int) -> int:
        place = delivery.stream, delivery.sequence, delivery.timestamp
        return int(derived_id("span", self._handler.name, *place, count)[:16], 16)

    def _end(self, delivery: Delivery, result: str, error: BaseException | None = None, **more: str | float) -> None:
        span, outer, published = self._open.pop(delivery.sequence, (None, None, None))
        if span is None or outer is None or published is None:
            return  # it succeeded, and was stopped while that was written down
        working.reset(published)
        detach(outer)
        self._finish(span, result, error, more)

    @staticmethod
    def _finish(span: Span, result: str, error: BaseException | None, more: dict[str, str | float]) -> None:
        span.set_attributes({"stenobus.result": result, **more})
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, str(error)))
        span.end()


def _parent(found: Trace) -> Context:
    """The span that published the event; an event that nobody recorded begins its trace."""
    if not found.span:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if found.sampled else TraceFlags.DEFAULT)
    context = SpanContext(int(found.id, 16), int(found.span, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(context), Context())
