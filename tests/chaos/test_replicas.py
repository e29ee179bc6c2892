"""Copies of streams and buckets on a cluster of real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from stenobus_bus import Bus, ConsumerSpec, apply, plan
from stenobus_bus.topology import domain, key_value
from stenobus_testing.waiting import eventually

from ..support.cluster import Cluster


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    cluster = await Cluster(tmp_path).start()
    try:
        async with await Bus.connect(",".join(server.url for server in cluster.servers)) as bus:
            await eventually(lambda: _led(bus))
            yield bus
    finally:
        await cluster.stop()


async def _led(bus: Bus) -> bool:
    try:
        await bus.api("STREAM.NAMES", timeout=0.5)
    except Exception:
        return False
    return True


async def _replicas(bus: Bus, name: str) -> int:
    return int((await bus.api(f"STREAM.INFO.{name}"))["config"]["num_replicas"])


async def test_replicas_are_raised_and_never_lowered(bus: Bus) -> None:
    single = [domain("copied"), key_value("copied")]
    copied = [replace(spec, replicas=3) for spec in single]
    await apply(bus, single)
    assert [await _replicas(bus, name) for name in ("COPIED", "KV_copied")] == [1, 1]
    assert "num_replicas: 1 → 3" in str((await plan(bus, copied))[0])
    await apply(bus, copied)
    assert [await _replicas(bus, name) for name in ("COPIED", "KV_copied")] == [3, 3]
    assert {change.action for change in await plan(bus, single)} == {"none"}
    assert {change.action for change in await plan(bus, copied)} == {"none"}


async def test_what_many_processes_declare_at_once_is_awaited_until_it_has_a_leader(bus: Bus) -> None:
    specs = [replace(domain("copied"), replicas=3), ConsumerSpec("COPIED", "many", "copied.thing")]
    others = [await Bus.connect(bus.nc.connected_url.geturl()) for _ in range(5)]
    await asyncio.gather(*(apply(other, specs) for other in others))
    assert {change.action for change in await plan(bus, specs)} == {"none"}
    for other in others:
        await other.close()
