"""Time of ``stenobus dlq`` with very many dead letters, and the memory it takes: every command is a process of its own.

python bench/dead_letters.py [--letters 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_contracts import DeadLetter, Reason
from stenobus_core.services import topology

KINDS: tuple[tuple[str, Reason], ...] = (("asr", "crashed"), ("documents-extract", "exhausted"), ("kb", "invalid"))
COMMANDS = (
    "dlq list",
    "dlq list --since 1h",
    "dlq show {middle}",
    "dlq list --run run-7",
    "dlq retry --all --dry-run",
    "dlq retry --run run-7",
    "dlq purge --all --yes",
)


def letter(number: int) -> tuple[str, bytes]:
    handler, reason = KINDS[number % len(KINDS)]
    made = DeadLetter(
        handler=handler, reason=reason, error="ValueError", message="the disk is full", attempts=5,
        traceback="  File …, line 1, in handle\n" * 40, event_id=f"event-{number}", run=f"run-{number % 1000}",
        stream="BENCH", sequence=number + 1, original_subject="bench.event", headers={"ce-id": f"event-{number}"},
        failed_at=datetime.now(UTC) - timedelta(seconds=number), data='{"text": "' + "x" * 400 + '"}',
    )  # fmt: skip
    return f"dlq.{handler}.{reason}", made.model_dump_json().encode()


async def fill(bus: Bus, count: int) -> None:
    await apply(bus, topology("stenobus"))
    await bus.api("STREAM.CREATE.BENCH", {"name": "BENCH", "subjects": ["bench.>"], "allow_direct": True})
    for start in range(0, count, 256):
        posts = [await bus.post(*letter(number), {}) for number in range(start, min(start + 256, count))]
        for post in posts:
            await post.stored()


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), port=0)
        try:
            async with await Bus.connect(await server.start()) as bus:
                await fill(bus, count)
                size = (await bus.api("STREAM.INFO.DLQ"))["state"]["bytes"]
            print(f"{count:,} dead letters, {size / 2**20:,.0f} MiB")
            for command in COMMANDS:
                measure(command.format(middle=count // 2), server.url)
        finally:
            await server.stop()


def measure(command: str, url: str) -> None:
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from stenobus_core.cli import main; main()", *command.split()],
        env=os.environ | {"STENOBUS_NATS_URL": url},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    seconds = time.perf_counter() - started
    print(f"stenobus {command:<28} {seconds:>7.2f} s  {usage.ru_maxrss / 1024:>5.0f} MiB  exit {status >> 8}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--letters", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().letters))
