"""The processes that the chaos tests kill: a handler of a chain of three, or a publisher that begins it.

``python -m tests.chaos.chain link NUMBER`` and ``… publisher NAME COUNT``. What they did is appended to the file
``STENOBUS_CHAOS_LEDGER``, outside the bus, one line of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stenobus_bus import Bus, Envelope, RetryPolicy
from stenobus_bus.envelope import derived_id
from stenobus_contracts import Event
from stenobus_core import Context, CoreSettings, Host, Plugin
from stenobus_core.logs import configure


class Passed(Event):
    """What is passed along."""

    #: Made of the publisher's name and a number: what must come out once.
    token: str


class First(Passed, subject="chain.first"):
    """Published by the publishers."""


class Second(Passed, subject="chain.second"):
    """After the first handler."""


class Third(Passed, subject="chain.third"):
    """After the second handler."""


class Last(Passed, subject="chain.last"):
    """What comes out."""


#: Events one process works on at once.
CONCURRENCY = 4
LINKS: list[tuple[type[Passed], type[Passed]]] = [(First, Second), (Second, Third), (Third, Last)]
HANDLERS = [f"chain-{number}" for number in range(len(LINKS))]


def note(**what: Any) -> None:
    """Append one line: a single write, so that those of several processes never mix."""
    line = json.dumps({"at": time.time(), "pid": os.getpid(), **what}) + "\n"
    file = os.open(os.environ["STENOBUS_CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def notes(path: Path, kind: str) -> list[dict[str, Any]]:
    """What was appended of one kind."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def plugin(number: int) -> Plugin:
    """One handler, of the number of its place in the chain."""
    taken, made = LINKS[number]
    link = Plugin(HANDLERS[number])

    async def work(event, ctx):  # its types are set below
        envelope = ctx._received.envelope
        key = derived_id(envelope.source, envelope.id, envelope.replay)  # its place in the handler's ledger
        note(kind="executed", handler=HANDLERS[number], token=event.token, key=key, attempt=ctx.attempt)
        await asyncio.sleep(random.choice((0.0, 0.005, 0.05, 0.2)))  # the work: what may be interrupted
        return made(token=event.token)

    work.__annotations__ = {"event": taken, "ctx": Context[Any, Any], "return": made}
    link.handler(concurrency=CONCURRENCY, retry=RetryPolicy(attempts=50, base=0.05, cap=1.0), track=False)(work)
    return link


async def watch() -> None:
    """Note when this process stood still for so long that signs of life were late."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.1)
        if (seconds := time.monotonic() - before) > 0.5:
            note(kind="stalled", seconds=seconds)


async def handle(number: int) -> None:
    """Run a handler until SIGTERM."""
    settings = CoreSettings.load("core")
    configure(settings)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with await Bus.connect(settings.nats_url or "", timeout=30) as bus:
        host = Host(settings, bus, [plugin(number)])
        await host.start()
        watching = asyncio.create_task(watch())
        note(kind="started", handler=HANDLERS[number])
        await ended.wait()
        watching.cancel()
        await host.stop(grace=1)


async def publish(name: str, count: int) -> None:
    """Publish ``count`` events. Those without a PubAck in the life of an earlier process are published again."""
    ledger = Path(os.environ["STENOBUS_CHAOS_LEDGER"])
    acked = {entry["token"] for entry in notes(ledger, "acked")}
    async with await Bus.connect(os.environ["STENOBUS_NATS_URL"], timeout=30) as bus:
        for number in range(count):
            token = f"{name}-{number}"
            if token not in acked:
                event = First(token=token)
                stored = await bus.publish(event, Envelope.new(event, f"publisher/{name}", id=str(number)))
                note(kind="acked", token=token, duplicate=stored.duplicate)
                await asyncio.sleep(random.uniform(0, 0.1))


if __name__ == "__main__":
    role, what, *more = sys.argv[1:]
    asyncio.run(handle(int(what)) if role == "link" else publish(what, int(more[0])))
