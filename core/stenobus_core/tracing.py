"""Switches OpenTelemetry on as the standard ``OTEL_…`` variables say. While it is off, nothing of it is imported."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points
from typing import Final

import structlog

from stenobus_bus import Observer

from .plugin import Handler

log = structlog.get_logger(__name__)

#: Entry points of exporters, and ours for the standard's name: OTLP is spoken over HTTP.
_GROUP: Final = "opentelemetry_traces_exporter"
_NAMES: Final = {"otlp": "otlp_proto_http"}
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Seconds a stopping process gives its last spans.
_LAST: Final = 3.0


def exporters(environment: Mapping[str, str]) -> list[str]:
    """Names of the exporters that the environment asks for; none means that traces are off.

    An OTLP endpoint alone is enough; ``OTEL_TRACES_EXPORTER=none`` and ``OTEL_SDK_DISABLED=true`` win over it.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not named:
        named = "otlp" if any(environment.get(name, "").strip() for name in _ENDPOINTS) else "none"
    return [name for part in named.split(",") if (name := part.strip()) and name != "none"]


@asynccontextmanager
async def tracing(environment: Mapping[str, str] = os.environ) -> AsyncIterator[Callable[[Handler], Observer] | None]:
    """Record traces for as long as it is open: yields what makes an observer for each handler, None when they are off.

    What cannot be loaded is logged: a variable meant for other programs of the machine must not stop the plugins.
    """
    names = exporters(environment)
    if not names:
        yield None
        return
    try:
        from .spans import Spans, provider
    except ModuleNotFoundError as error:
        log.error("tracing.missing", message="install it with `pip install 'stenobus-core[otel]'`", error=str(error))
        yield None
        return
    opened = []
    for name in names:
        points = entry_points(group=_GROUP, name=_NAMES.get(name, name))
        if not points:
            log.error("tracing.unknown_exporter", exporter=name, message="OTEL_TRACES_EXPORTER knows otlp and console")
        # Standard output belongs to results.
        opened += [point.load()(**({"out": sys.stderr} if name == "console" else {})) for point in points]
    traces = provider(opened)
    log.info("tracing.on", exporters=names)
    try:
        yield lambda handler: Spans(traces, handler)
    finally:
        if not await _closed(traces.shutdown):
            log.warning("tracing.unsent", message=f"the collector did not take the last spans within {_LAST:.0f} s")


async def _closed(shutdown: Callable[[], None]) -> bool:
    """Whether the last spans went out in time. A collector that does not answer must not hold up a stop."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def send() -> None:
        shutdown()
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=send, daemon=True).start()  # the loop's own threads would have to be waited for
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST):
            await done.wait()
    return done.is_set()
