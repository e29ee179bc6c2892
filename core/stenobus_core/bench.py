"""How fast this machine is: handlers, publishing and chains measured on a server of their own, peers left out."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stenobus_bus import Bus, EmbeddedServer, Envelope, apply
from stenobus_contracts import Event

from .context import Context
from .host import Host
from .plugin import Plugin
from .settings import CoreSettings

#: Characters of the text in a measured event, which make about 512 bytes of it.
_TEXT = "x" * 480


class First(Event, subject="bench.first"):
    """What a measured handler gets."""

    number: int
    text: str = _TEXT


class Second(First, subject="bench.second"):
    """What it may publish."""


class Third(First, subject="bench.third"):
    """What the second one publishes."""


class Fourth(First, subject="bench.fourth"):
    """What the third one publishes."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a second, and what they cost this process."""

    events: int
    seconds: float
    #: Processor seconds of this process; the server's are not in it.
    processor: float

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def processor_per_thousand(self) -> float:
        """Processor seconds for a thousand events."""
        return 1000 * self.processor / self.events


class Stopwatch:
    """Wall and processor time of a block."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.processor = time.perf_counter() - self._wall, time.process_time() - self._processor

    def rate(self, events: int) -> Rate:
        """The time as a rate of events."""
        return Rate(events, self.seconds, self.processor)


@asynccontextmanager
async def bench() -> AsyncIterator[tuple[CoreSettings, Bus]]:
    """A server in a temporary folder, and a connection to it, with all streams declared."""
    with TemporaryDirectory(prefix="stenobus-bench-") as folder:
        settings = CoreSettings(data_dir=Path(folder), nats_url=None)
        server = EmbeddedServer(Path(folder) / "nats", port=0)
        try:
            async with await Bus.connect(await server.start(), name="bench") as bus:
                await apply(bus, Host(settings, bus, []).topology())
                yield settings, bus
        finally:
            await server.stop()


async def fill(bus: Bus, total: int) -> None:
    """Store events for handlers to find."""
    events = (First(number=number) for number in range(total))
    await bus.publish_all((event, Envelope.new(event, "bench")) for event in events)


def resting(name: str, seconds: float = 0.0, *, started: dict[int, float] | None = None, **options: Any) -> Plugin:
    """A handler that does nothing, or sleeps, and publishes nothing.

    Args:
        started: gets the time at which the handler started with each event.
    """
    plugin = Plugin(name)

    @plugin.handler(**options)
    async def rest(event: First, ctx: Context[Any, Any]) -> None:
        if started is not None:
            started[event.number] = time.perf_counter()
        if seconds:
            await asyncio.sleep(seconds)

    return plugin


def passing(name: str, hops: int, **options: Any) -> list[Plugin]:
    """Up to three handlers, each publishing to the next."""
    plugins = [Plugin(f"{name}-{hop}") for hop in range(3)]

    @plugins[0].handler(**options)
    async def first(event: First, ctx: Context[Any, Any]) -> Second:
        return Second(number=event.number, text=event.text)

    @plugins[1].handler(**options)
    async def second(event: Second, ctx: Context[Any, Any]) -> Third:
        return Third(number=event.number, text=event.text)

    @plugins[2].handler(**options)
    async def third(event: Third, ctx: Context[Any, Any]) -> Fourth:
        return Fourth(number=event.number, text=event.text)

    return plugins[:hops]


async def handle(settings: CoreSettings, bus: Bus, plugins: Sequence[Plugin], total: int) -> Rate:
    """Events a second through one plugin, or through a chain of them, of those that are stored."""
    host = Host(settings, bus, plugins)
    await host.declare()
    last = plugins[-1].handlers[0].name
    with Stopwatch() as watch:
        await host.start()
        while host.workers[last].handled < total:
            await asyncio.sleep(0.002)
        await bus.nc.flush()
    await host.stop()
    return watch.rate(total)


async def publish(bus: Bus, total: int) -> Rate:
    """Events published a second, with many on the way."""
    with Stopwatch() as watch:
        await fill(bus, total)
    return watch.rate(total)


async def latency(
    settings: CoreSettings, bus: Bus, name: str, total: int, per_second: float, **options: Any
) -> list[float]:
    """Seconds from each publish to the start of its handler, at a steady load."""
    started: dict[int, float] = {}
    host = Host(settings, bus, [resting(name, started=started, concurrency=100, **options)])
    await host.start()
    published: dict[int, float] = {}
    async with asyncio.TaskGroup() as group:
        begin = time.perf_counter()
        for number in range(total):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.perf_counter()))
            event = First(number=number)
            published[number] = time.perf_counter()
            group.create_task(bus.publish(event, Envelope.new(event, "bench")))
    while len(started) < total:
        await asyncio.sleep(0.002)
    await host.stop()
    return [started[number] - published[number] for number in range(total)]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the others lies."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
