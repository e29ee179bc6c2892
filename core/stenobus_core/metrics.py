"""Prometheus metrics of one process, and whether it lives and is ready, over HTTP.

Labels are what people declared: plugin, handler and the contract's subject. Ids never become labels. Counting costs
nothing here: the workers' own figures are read, and the server is asked what waits, when somebody scrapes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stenobus_bus import ConsumerSpec, StreamSpec, dead_letters
from stenobus_bus.stats import BOUNDS, Histogram

from .errors import SettingsError
from .figures import Figure
from .host import Host
from .lag import Lag, StreamSize, gather, lag, oldest, stream_size
from .plugin import Handler

log = structlog.get_logger(__name__)

#: Seconds the server gets to tell what waits; what is late is missing from the scrape.
_DEADLINE: Final = 2.0
#: Seconds for which what the server told is told again: many scrapers cost as much as one.
_FRESH: Final = 1.0
#: Seconds a client gets to ask.
_PATIENCE: Final = 5.0
_LABELS: Final = ("plugin", "handler", "subject")


class MetricsServer:
    """Answers ``/metrics``, ``/healthz`` and ``/readyz`` for a host.

    Args:
        host: whose handlers; it need not be started yet.
        address: where to listen.
        port: 0 picks a free one, see :attr:`port`.
    """

    def __init__(self, host: Host, address: str, port: int) -> None:
        self._host, self._address, self.port = host, address, port
        self._registry = CollectorRegistry()
        self._figures = _Figures(host)
        for collector in (self._figures, ProcessCollector(registry=None), PlatformCollector(registry=None)):
            self._registry.register(collector)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be used.
        """
        try:
            self._server = await asyncio.start_server(self._serve, self._address, self.port)
        except OSError as error:
            raise SettingsError(
                f"STENOBUS_METRICS_PORT: {self._address}:{self.port} cannot be listened on ({error.strerror}); "
                "name another port."
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("metrics.listening", url=f"http://{self._address}:{self.port}/metrics")

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, kind, body = await self._answer(head)
                writer.write(
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                )
                writer.write(b"" if head.startswith("HEAD ") else body)
                await writer.drain()
        writer.close()

    async def _answer(self, head: str) -> tuple[HTTPStatus, str, bytes]:
        request, *lines = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET only\n"
        if path == "/healthz":
            return HTTPStatus.OK, "text/plain", b"alive\n"
        if path == "/readyz":
            return self._ready()
        if path == "/metrics":
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            encode, kind = choose_encoder(headers.get("accept", ""))
            await self._figures.look()
            return HTTPStatus.OK, kind, encode(self._registry)
        return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz or /readyz\n"

    def _ready(self) -> tuple[HTTPStatus, str, bytes]:
        host = self._host
        state = {
            "ready": host.ready,
            "connected": host.bus.nc.is_connected,
            "handlers": {name: worker.healthy for name, worker in host.workers.items()},
            "failed": host.failed,
        }
        status = HTTPStatus.OK if host.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(state).encode() + b"\n"


class _Figures(Collector):
    """Turns what the workers counted, and what the server told last, into metrics."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._looking = asyncio.Lock()
        self._looked = float("-inf")
        self._lags: dict[tuple[Handler, ConsumerSpec], Lag] = {}
        self._ages: dict[Lag, float] = {}
        self._streams: dict[str, StreamSize] = {}
        self._letters: dict[tuple[str, str], int] = {}
        self._unanswered = 0

    async def look(self) -> None:
        """Ask the server what waits, unless somebody just did."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._looked < _FRESH:
                return
            bus, end = self._host.bus, loop.time() + _DEADLINE
            running = self._running()
            streams = [spec.name for spec in self._host.topology() if isinstance(spec, StreamSpec)]
            consumers = [(handler, spec) for handler in running for spec in handler.consumers(0)]  # one per lane
            self._lags = await gather(
                consumers, lambda one: lag(bus, one[1].stream, one[1].name), deadline=end - loop.time()
            )
            self._ages = await gather(
                self._lags.values(), lambda waiting: oldest(bus, waiting), deadline=end - loop.time()
            )
            self._streams = await gather(streams, lambda name: stream_size(bus, name), deadline=end - loop.time())
            told = await gather(["letters"], lambda _: dead_letters.counts(bus), deadline=end - loop.time())
            self._letters = told.get("letters", {})
            self._unanswered = (
                2 * len(consumers)
                + len(streams)
                + 1
                - len(self._lags)
                - len(self._ages)
                - len(self._streams)
                - len(told)
            )
            self._looked = loop.time()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as prometheus_client asks for them."""
        yield from self._counted()
        yield from self._own()
        yield from self._waiting()
        yield _gauge("stenobus_ready", "1 when connected and every handler is ready", [((), self._host.ready)])
        yield _gauge(
            "stenobus_unanswered_questions", "What the server did not tell at this scrape", [((), self._unanswered)]
        )
        sizes = [((name,), size) for name, size in self._streams.items()]
        for name, text in {
            "messages": "Messages in a stream",
            "bytes": "Bytes in a stream",
            "max_messages": "Most messages a stream takes; 0 is no limit",
            "max_bytes": "Most bytes a stream takes; 0 is no limit",
        }.items():
            rows = [(labels, getattr(size, name)) for labels, size in sizes]
            yield _gauge(f"stenobus_stream_{name}", text, rows, ("stream",))
        ages = [(labels, size.max_age) for labels, size in sizes]
        yield _gauge("stenobus_stream_max_age_seconds", "How long a stream keeps a message", ages, ("stream",))
        letters = self._letters.items()
        yield _gauge("stenobus_dead_letters", "Dead letters that wait for a person", letters, ("handler", "reason"))

    def _running(self) -> list[Handler]:
        return [handler for handler in self._host.handlers if handler.name in self._host.workers]

    def _counted(self) -> Iterator[Metric]:
        workers = [(_labels(handler), self._host.workers[handler.name]) for handler in self._running()]
        for name, text in {
            "handled": "Events handled",
            "failures": "Attempts that failed",
            "retried": "Failed attempts that are followed by another one",
            "skipped": "Duplicates that the ledger knew",
        }.items():
            counter = CounterMetricFamily(f"stenobus_{name}", text, labels=_LABELS)
            for labels, worker in workers:
                counter.add_metric(labels, getattr(worker.stats, name))
            yield counter
        dead = CounterMetricFamily("stenobus_buried", "Events that became dead letters", labels=(*_LABELS, "reason"))
        work = HistogramMetricFamily("stenobus_handler_seconds", "Time of a handler's own code", labels=_LABELS)
        publish = HistogramMetricFamily("stenobus_publish_seconds", "Time to store an event's outputs", labels=_LABELS)
        for labels, worker in workers:
            for reason, count in worker.stats.dead.items():
                dead.add_metric((*labels, reason), count)
            _add(work, labels, worker.stats.work)
            _add(publish, labels, worker.stats.publish)
        yield from (dead, work, publish)
        yield _gauge("stenobus_in_hand", "Events in hand", [(labels, worker.active) for labels, worker in workers])
        yield _gauge(
            "stenobus_slots", "Events that fit in hand", [(labels, worker.slots) for labels, worker in workers]
        )
        healthy = [(labels, worker.healthy) for labels, worker in workers]
        yield _gauge("stenobus_handler_ready", "1 when its consumer exists and its loop hears from the server", healthy)

    def _own(self) -> Iterator[Metric]:
        """What the plugins count themselves. The trouble of one is kept from the others."""
        for plugin in self._host.plugins:
            if plugin.name in self._host.states:
                try:
                    yield from map(partial(_figure, plugin.name), plugin.known_figures(self._host.states[plugin.name]))
                except Exception as trouble:
                    log.warning(
                        "metrics.figures_failed", plugin=plugin.name, error=f"{type(trouble).__name__}: {trouble}"
                    )

    def _waiting(self) -> Iterator[Metric]:
        lags = [
            ((handler.plugin, handler.name, spec.subject), waiting) for (handler, spec), waiting in self._lags.items()
        ]
        for name, text in {
            "pending": "Events that were never delivered",
            "unsettled": "Events that were delivered and not settled, waiting retries included",
            "redelivered": "Unsettled events that were delivered more than once",
            "paused": "1 when an operator paused the consumer",
        }.items():
            yield _gauge(f"stenobus_{name}", text, [(labels, getattr(waiting, name)) for labels, waiting in lags])
        ages = [(labels, self._ages[waiting]) for labels, waiting in lags if waiting in self._ages]
        yield _gauge("stenobus_oldest_pending_seconds", "Age of the oldest event that is not settled", ages)


def _labels(handler: Handler) -> tuple[str, str, str]:
    return handler.plugin, handler.name, handler.contract.subject


def _gauge(
    name: str, text: str, rows: Iterable[tuple[tuple[str, ...], float]], labels: tuple[str, ...] = _LABELS
) -> Metric:
    rows = list(rows)
    gauge = GaugeMetricFamily(name, text, labels=() if rows and not rows[0][0] else labels)
    for values, value in rows:
        gauge.add_metric(values, float(value))
    return gauge


def _figure(plugin: str, figure: Figure) -> Metric:
    """A plugin's own figure under its name."""
    name = f"stenobus_{plugin.replace('-', '_')}_{figure.name}"
    if figure.kind == "histogram":
        histogram = HistogramMetricFamily(name, figure.text, labels=figure.labels)
        for labels, value in figure.rows.items():
            assert isinstance(value, Histogram)
            _add(histogram, labels, value)
        return histogram
    family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = family(name, figure.text, labels=figure.labels)
    for labels, value in figure.rows.items():
        assert not isinstance(value, Histogram)
        metric.add_metric(labels, value)
    return metric


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    passed, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.counts, strict=True):
        passed += count
        buckets.append((bound, float(passed)))
    family.add_metric(labels, buckets, histogram.total)
