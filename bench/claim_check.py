"""Speed of the object bucket that claim checks and blobs go through, beside nats-py's own ``get``.

python bench/claim_check.py [--mib 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_bus.topology import object_bucket

STOCK_MIB = 8  # nats-py's reader is too slow for more


async def main(mib: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), port=0)
        try:
            async with await Bus.connect(await server.start(), bucket="bench") as bus:
                await apply(bus, [object_bucket("bench")])
                rates: dict[str, list[float]] = {"put": [], "get": [], "nats-py get": []}
                stock = await bus.js.object_store("bench")
                small = await bus.objects.put(os.urandom(STOCK_MIB << 20), "application/octet-stream")
                for _ in range(rounds):
                    data = os.urandom(mib << 20)
                    started = time.perf_counter()
                    ref = await bus.objects.put(data, "application/octet-stream")
                    rates["put"].append(mib / (time.perf_counter() - started))
                    started = time.perf_counter()
                    size = 0
                    async for chunk in bus.objects.open(ref.uri):
                        size += len(chunk)
                    assert size == len(data)
                    rates["get"].append(mib / (time.perf_counter() - started))
                    started = time.perf_counter()
                    await stock.get(small.sha256)
                    rates["nats-py get"].append(STOCK_MIB / (time.perf_counter() - started))
        finally:
            await server.stop()
    for label, values in rates.items():
        print(f"{label:<12} {statistics.median(values):>7.0f} MiB/s  ({min(values):.0f}–{max(values):.0f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.mib, arguments.rounds))
