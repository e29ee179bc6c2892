"""The bus beside its peers, in one run: every figure is a median, and counts as a ratio, since machines differ.

    python bench/bus.py [--events 10000] [--rounds 5] [ROW …]

Rows: handlers, onward, publish, latency, chain, slow, memory; all of them by default. Peers other than nats-py
and FastStream are measured when ``bench/peers/setup.sh`` has installed them into ``.venv-peers``, and Redis is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run
from typing import Any, NamedTuple

import structlog
from options import OPTIONS

from stenobus_bus import Bus, Envelope, apply
from stenobus_bus.topology import ConsumerSpec
from stenobus_core import CoreSettings
from stenobus_core.bench import First, bench, fill, handle, latency, passing, publish, quantile, resting

HERE = Path(__file__).parent
PEERS = HERE / "peers"
PEER_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
REDIS_PORT = 16_399
ROWS = ("handlers", "onward", "publish", "latency", "chain", "slow", "memory")


class Figure(NamedTuple):
    """One measurement of a process."""

    events: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


Contender = Callable[[], Figure]


def process(*command: object) -> Figure:
    """Run a contender and read its figures."""
    done = run(list(map(str, command)), stdout=PIPE, stderr=DEVNULL, cwd=PEERS, timeout=600)  # some end by a kill
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith('{"events"')]
    if not lines:
        raise SystemExit(f"{command[1]} gave no figures; run it by hand: {' '.join(map(str, command))}")
    return Figure(**json.loads(lines[-1]))


def table(title: str, contenders: dict[str, Contender], rounds: int, base: str) -> None:
    """Measure in turns, and print medians as ratios to the base."""
    figures: dict[str, list[Figure]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
    middle = {name: statistics.median(figure.rate for figure in found) for name, found in figures.items()}
    print(f"\n{title}")
    for name, found in figures.items():
        rates = [figure.rate for figure in found]
        cost = statistics.median(1000 * figure.processor / figure.events for figure in found)
        print(
            f"  {name:<34}{middle[name]:>9,.0f}/s   {middle[name] / middle[base]:>5.2f} of {base}"
            f"   CPU s per 1,000: {cost:.3f}   ({min(rates):,.0f}–{max(rates):,.0f})",
            flush=True,
        )


@contextmanager
def redis() -> Iterator[int | None]:
    """A Redis of our own, when there is one to run."""
    executable = shutil.which("redis-server")
    if executable is None or not PEER_PYTHON.exists():
        print("Without .venv-peers and redis-server: taskiq, Dramatiq and Celery are left out.")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = Popen([executable, "--port", str(REDIS_PORT), "--dir", folder, "--appendonly", "yes"], stdout=DEVNULL)
        try:
            yield REDIS_PORT
        finally:
            server.terminate()
            server.wait()


def handlers(url: str, events: int, rounds: int) -> None:
    with redis() as port:
        contenders: dict[str, Contender] = {
            "raw": lambda: process(sys.executable, "raw.py", url, "BENCH", events, "noop"),
        }
        for options in OPTIONS:
            contenders[f"Stenobus, {options}"] = lambda options=options: process(
                sys.executable, HERE / "ours.py", url, events, "noop", options
            )
        for batch in (1, 100):
            contenders[f"FastStream, pull of {batch}"] = lambda batch=batch: process(
                sys.executable, "faststream_pull.py", url, "BENCH", events, "noop", batch
            )
        if port is not None:
            few = max(1000, events // 5)  # they are slow, and their rate does not depend on the number
            contenders["taskiq-nats"] = lambda: process(PEER_PYTHON, "taskiq_nats_pull.py", url, few)
            contenders["Dramatiq + Redis"] = lambda: process(PEER_PYTHON, "dramatiq_redis.py", port, few)
            contenders["Celery + Redis"] = lambda: process(PEER_PYTHON, "celery_redis.py", port, few)
        table("A typed handler that does nothing, one process", contenders, rounds, "raw")


def onward(url: str, events: int, rounds: int) -> None:
    contenders: dict[str, Contender] = {
        "raw": lambda: process(sys.executable, "raw.py", url, "BENCH", events, "onward"),
        "FastStream, pull of 100": lambda: process(
            sys.executable, "faststream_pull.py", url, "BENCH", events, "onward", 100
        ),
    }
    for options in OPTIONS:
        contenders[f"Stenobus, {options}"] = lambda options=options: process(
            sys.executable, HERE / "ours.py", url, events, "onward", options
        )
    table("A handler that publishes to the next subject, PubAck awaited", contenders, rounds, "raw")


async def raw_publish(bus: Bus, events: int) -> float:
    """``publish_async`` of the same messages: bodies and headers alike, made beforehand."""
    messages = []
    for number in range(events):
        event = First(number=number)
        messages.append((event.body(), Envelope.new(event, "bench").headers()))
    started = time.perf_counter()
    for body, headers in messages:
        await bus.js.publish_async(First.subject, body, headers=headers)
    await bus.js.publish_async_completed()
    return events / (time.perf_counter() - started)


async def raw_latency(bus: Bus, events: int, per_second: float) -> list[float]:
    name = f"raw-{uuid.uuid4().hex[:8]}"
    await apply(bus, [ConsumerSpec("BENCH", name, First.subject)])
    pull = await bus.js.pull_subscribe_bind(consumer=name, stream="BENCH")
    started: dict[int, float] = {}
    published: dict[int, float] = {}

    async def receive() -> None:
        while len(started) < events:
            for msg in await pull.fetch(1, timeout=10):
                started[First.model_validate_json(msg.data).number] = time.perf_counter()
                await msg.ack()

    receiving = asyncio.create_task(receive())
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(events):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.perf_counter()))
            body = First(number=number).body()
            published[number] = time.perf_counter()
            group.create_task(bus.js.publish(First.subject, body))
    await receiving
    return [started[number] - published[number] for number in range(events)]


async def publishing(bus: Bus, events: int, rounds: int) -> None:
    raw, ours = [], []
    for _ in range(rounds):
        raw.append(await raw_publish(bus, events))
        ours.append((await publish(bus, events)).per_second)
    base, middle = statistics.median(raw), statistics.median(ours)
    print("\nPublishing with PubAck, many on the way")
    print(f"  raw publish_async {base:,.0f}/s   Stenobus publish_all {middle:,.0f}/s   {middle / base:.2f} of raw")


async def latencies(settings: CoreSettings, bus: Bus, rounds: int) -> None:
    figures: dict[str, list[tuple[float, float]]] = {"raw": []} | {f"Stenobus, {options}": [] for options in OPTIONS}
    for _ in range(rounds):
        await bus.api("STREAM.PURGE.BENCH")
        found = await raw_latency(bus, 1000, 200)
        figures["raw"].append((quantile(found, 0.5), quantile(found, 0.99)))
        for options, more in OPTIONS.items():
            await bus.api("STREAM.PURGE.BENCH")
            found = await latency(settings, bus, f"latency-{uuid.uuid4().hex[:8]}", 1000, 200, **more)
            figures[f"Stenobus, {options}"].append((quantile(found, 0.5), quantile(found, 0.99)))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    print("\nPublish to handler start at 200 events/s, p50 and p99")
    for name, (p50, p99) in medians.items():
        ratio = f"{p50 / medians['raw'][0]:.2f} and {p99 / medians['raw'][1]:.2f} of raw"
        print(f"  {name:<22}{1000 * p50:.2f} ms   {1000 * p99:.2f} ms   {ratio}")


async def chains(settings: CoreSettings, bus: Bus, events: int, rounds: int) -> None:
    single, triple = [], []
    for _ in range(rounds):
        for hops, found in ((1, single), (3, triple)):
            await bus.api("STREAM.PURGE.BENCH")
            await fill(bus, events)
            plugins = passing(f"chain-{uuid.uuid4().hex[:8]}", hops, concurrency=100)
            found.append((await handle(settings, bus, plugins, events)).per_second)
    one, three = statistics.median(single), statistics.median(triple)
    print("\nA chain of three handlers in one process, ledger and run record on")
    print(f"  one hop {one:,.0f}/s   three hops {three:,.0f}/s   {three / (one / 3):.2f} of a third of one hop")


async def slow(settings: CoreSettings, bus: Bus, rounds: int) -> None:
    rates: dict[str, list[float]] = {options: [] for options in OPTIONS}
    for _ in range(rounds):
        for options, more in OPTIONS.items():
            await bus.api("STREAM.PURGE.BENCH")
            await fill(bus, 1920)
            plugin = resting(f"slow-{uuid.uuid4().hex[:8]}", 0.1, concurrency=64, **more)
            rates[options].append((await handle(settings, bus, [plugin], 1920)).per_second)
    print("\nHandlers of 100 ms in 64 slots")
    for options, found in rates.items():
        middle = statistics.median(found)
        print(f"  Stenobus, {options:<12}{middle:,.0f}/s   {middle / 640:.2f} of 640/s")


@contextmanager
def service(url: str, folder: str, *, ack_wait: float = 30) -> Iterator[Popen[bytes]]:
    """An idle plugin in a process of its own."""
    environment = os.environ | {
        "STENOBUS_NATS_URL": url,
        "STENOBUS_DATA_DIR": folder,
        "STENOBUS_ACK_WAIT": str(ack_wait),
    }
    command = [sys.executable, "-c", "from stenobus_core.cli import main; main()", "up", "documents-clean"]
    plugin = Popen(command, env=environment, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield plugin
    finally:
        plugin.send_signal(signal.SIGTERM)
        plugin.wait()


async def memory(bus: Bus, url: str) -> None:
    with tempfile.TemporaryDirectory() as folder, service(url, folder) as plugin:
        while True:
            try:
                await bus.nc.request("stenobus.ready.documents-clean", timeout=0.5)
                break
            except Exception:
                await asyncio.sleep(0.1)
        status = Path(f"/proc/{plugin.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    print(f"\nAn idle plugin process (documents-clean)\n  {resident / 1024:.0f} MB resident")


async def main(rows: list[str], events: int, rounds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with bench() as (settings, bus):
        url = str(bus.nc.connected_url.geturl())
        alone: dict[str, Any] = {
            "publish": lambda: publishing(bus, events, rounds),
            "latency": lambda: latencies(settings, bus, rounds),
            "chain": lambda: chains(settings, bus, events, rounds),
            "slow": lambda: slow(settings, bus, rounds),
            "memory": lambda: memory(bus, url),
        }
        for row, measure in (("handlers", handlers), ("onward", onward)):
            if row in rows:
                await bus.api("STREAM.PURGE.BENCH")
                await fill(bus, events)
                await asyncio.to_thread(measure, url, events, rounds)
        for row, run_row in alone.items():
            if row in rows:
                await run_row()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all of them by default")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}; known: {', '.join(ROWS)}")
    asyncio.run(main(arguments.rows or list(ROWS), arguments.events, arguments.rounds))
