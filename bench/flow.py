"""What flow control costs: events per second of a handler with each option, and tokens per second of a shared bucket.

python bench/flow.py [EVENTS]
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from stenobus_bus import (
    Bus,
    ConsumerSpec,
    EmbeddedServer,
    Envelope,
    RateLimit,
    TokenBucket,
    Worker,
    apply,
    cell,
    ledger,
)
from stenobus_bus.topology import domain, key_value
from stenobus_contracts import Event

CONCURRENCY = 16
#: Far above what the handler can do: what is measured is the way to the bucket.
PLENTY = RateLimit(per_second=1e6, burst=1e6)


class Work(Event, subject="bench.work", lanes=("urgent",)):
    """One event."""

    number: int
    urgent: bool = False

    @property
    def lane(self) -> str | None:
        return "urgent" if self.urgent else None


async def handling(bus: Bus, name: str, events: int, processes: int, **options: Any) -> float:
    """Events per second of a handler that does nothing, over so many processes (connections of this one)."""
    done, finished = 0, asyncio.Event()

    async def handle(_: Any) -> tuple[Event, ...]:
        nonlocal done
        done += 1
        if done == events:
            finished.set()
        return ()

    plain = ConsumerSpec("BENCH", name, Work.subject)
    if options.pop("lanes", False):
        options["lanes"] = [(replace(plain, name=f"{name}_urgent", subject=f"{Work.subject}.urgent"), 3)]
    rate = options.pop("rate", None)
    async with AsyncExitStack() as stack:
        buses = [
            await stack.enter_async_context(await Bus.connect(bus.nc.connected_url.geturl())) for _ in range(processes)
        ]
        workers = [
            Worker(
                each, plain, Work, handle, concurrency=CONCURRENCY,
                **options, **({"rate": TokenBucket(each, name, rate)} if rate else {}),
            )
            for each in buses
        ]  # fmt: skip
        begun = time.perf_counter()
        await asyncio.gather(*(worker.start() for worker in workers))
        await finished.wait()
        seconds = time.perf_counter() - begun
        for worker in workers:
            await worker.stop()
    return events / seconds


async def tokens(url: str, callers: int, connections: int, seconds: float = 3.0) -> float:
    """Tokens per second that callers take one by one."""
    taken, end = 0, time.perf_counter() + seconds

    async def call(bucket: TokenBucket) -> None:
        nonlocal taken
        while time.perf_counter() < end:
            await bucket.acquire()
            taken += 1

    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(await Bus.connect(url)) for _ in range(connections)]
        buckets = [TokenBucket(bus, f"bench-{callers}-{connections}", PLENTY) for bus in buses]
        await asyncio.gather(*(call(buckets[number % connections]) for number in range(callers)))
    return taken / seconds


async def main(events: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), port=0)
        url = await server.start()
        async with await Bus.connect(url) as bus:
            await apply(bus, [domain("bench"), key_value(ledger.BUCKET), key_value(cell.BUCKET)])
            await bus.publish_all(
                (event, Envelope.new(event, "bench")) for event in (Work(number=n, urgent=False) for n in range(events))
            )
            cases: dict[str, dict[str, Any]] = {
                "nothing": {},
                "fleet_concurrency=16": {"fleet_concurrency": CONCURRENCY},
                "lanes, one empty": {"lanes": True},
                "rate": {"rate": PLENTY},
            }
            for processes in (1, 4):
                for case, options in cases.items():
                    name = f"bench-{processes}-{abs(hash(case))}"
                    rate = await handling(bus, name, events, processes, **options)
                    print(f"{processes} process(es), {case:<22} {rate:8,.0f} events/s", flush=True)
            for callers, connections in ((1, 1), (50, 1), (50, 5), (50, 50)):
                rate = await tokens(url, callers, connections)
                print(f"{callers:>2} callers on {connections:>2} connection(s)       {rate:8,.0f} tokens/s", flush=True)
        await server.stop()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000))
