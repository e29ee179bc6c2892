"""Processes of a plugin with a schedule are killed at any moment: no occurrence is lost, none fires twice."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from stenobus_bus import Bus, EmbeddedServer
from stenobus_bus.history import read
from stenobus_testing.waiting import eventually

from ..support.installed import Site

CLOCK = '''
    from datetime import timedelta

    from stenobus_contracts import Event
    from stenobus_core import Plugin


    class AcmeTick(Event, subject="acme.tick"):
        """It is time."""


    plugin = Plugin("acme-clock")
    plugin.schedule("tick", every=timedelta(seconds=1), event=AcmeTick(), catch_up="all")
'''


async def test_no_occurrence_is_lost_and_none_fires_twice(
    server: EmbeddedServer, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "site", monkeypatch)
    site.install("acme-clock", CLOCK)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "STENOBUS_NATS_URL": server.url,
        "STENOBUS_DATA_DIR": str(tmp_path),
        "STENOBUS_ACK_WAIT": "1",
    }

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from stenobus_core.cli import main; main()", "up", "acme-clock",
            env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def fired() -> list[datetime]:
        if "ACME" not in (await bus.api("STREAM.NAMES"))["streams"]:
            return []
        return [datetime.fromisoformat(m.headers["ce-time"]) async for m in read(bus, "ACME", "acme.tick")]

    async def more(than: int) -> bool:
        return len(await fired()) > than

    seen = asyncio.Event()
    messages, mark = 0, 0

    async def count(_: object) -> None:
        """Kills come after a number of messages, so that they fall into every gap."""
        nonlocal messages
        messages += 1
        if messages == mark:
            seen.set()

    processes = [await start(), await start()]
    try:
        await eventually(lambda: more(0))
        await bus.nc.subscribe("schedules.>", cb=count)
        await bus.nc.subscribe("$KV.stenobus_schedules.>", cb=count)
        await bus.nc.subscribe("acme.tick", cb=count)
        for number in (0, 1, 0, 1):
            messages, mark = 0, random.randint(1, 5)
            seen.clear()
            await asyncio.wait_for(seen.wait(), 60)
            processes[number].kill()
            await processes[number].wait()
            processes[number] = await start()
        there = len(await fired())
        await eventually(lambda: more(there + 1))
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    times = sorted(await fired())
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
