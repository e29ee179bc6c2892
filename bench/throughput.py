"""Events per second through a typed no-op handler, beside a raw nats-py ``fetch(100)`` loop: same decode, same ack.

    python bench/throughput.py [--events 20000] [--rounds 5]

Both run in one process on one embedded server, in turn; the ratio of the medians is what counts, since machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_bus.topology import ConsumerSpec
from stenobus_contracts import Event
from stenobus_core import Context, CoreSettings, Host, Plugin


class Measured(Event, subject="bench.measured"):
    number: int
    text: str


def _plugin(name: str, seen: asyncio.Event, total: int, *, ledger: bool) -> Plugin:
    plugin = Plugin(name)
    count = 0

    @plugin.handler(concurrency=100, ledger=ledger, track=False)
    async def nothing(event: Measured, ctx: Context) -> None:
        nonlocal count
        count += 1
        if count == total:
            seen.set()

    return plugin


async def _raw(bus: Bus, name: str, total: int) -> float:
    await apply(bus, [ConsumerSpec("BENCH", name, Measured.subject)])
    pull = await bus.js.pull_subscribe_bind(consumer=name, stream="BENCH")
    done = 0
    started = time.perf_counter()
    while done < total:
        for msg in await pull.fetch(100):
            Measured.model_validate_json(msg.data)
            await msg.ack()
            done += 1
    await bus.nc.flush()
    return total / (time.perf_counter() - started)


async def _handler(bus: Bus, settings: CoreSettings, name: str, total: int, *, ledger: bool) -> float:
    seen = asyncio.Event()
    host = Host(settings, bus, [_plugin(name, seen, total, ledger=ledger)])
    await apply(bus, host.topology())
    started = time.perf_counter()
    await host.start()
    await seen.wait()
    await bus.nc.flush()
    rate = total / (time.perf_counter() - started)
    await host.stop()
    return rate


async def main(total: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = CoreSettings(data_dir=Path(folder))
        server = EmbeddedServer(Path(folder) / "nats", port=0)
        try:
            async with await Bus.connect(await server.start()) as bus:
                await apply(bus, Host(settings, bus, []).topology())
                for number in range(total):
                    event = Measured(number=number, text="x" * 480)
                    await bus.js.publish_async(event.subject, event.body())
                await bus.js.publish_async_completed()
                rates: dict[str, list[float]] = {"raw": [], "handler": [], "handler with ledger": []}
                for turn in range(rounds):
                    rates["raw"].append(await _raw(bus, f"raw-{turn}", total))
                    for label, ledger in (("handler", False), ("handler with ledger", True)):
                        name = f"{label.replace(' ', '-')}-{turn}"
                        rates[label].append(await _handler(bus, settings, name, total, ledger=ledger))
        finally:
            await server.stop()
    base = statistics.median(rates["raw"])
    for label, values in rates.items():
        middle = statistics.median(values)
        print(
            f"{label:<22} {middle:>9,.0f} events/s  ratio to raw {middle / base:.2f}"
            f"  ({min(values):,.0f}–{max(values):,.0f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.events, arguments.rounds))
