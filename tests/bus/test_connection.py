"""The connection: doubted, broken off, and made anew."""

from __future__ import annotations

import asyncio

import pytest

from stenobus_bus import Bus, EmbeddedServer, connection
from stenobus_testing.waiting import eventually

from ..support.proxy import Proxy


async def test_whoever_doubted_the_old_connection_leaves_the_new_one_alone(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await Proxy(int(server.url.rpartition(":")[2])).start()
    async with await Bus.connect(proxy.url) as bus:
        proxy.strand()
        monkeypatch.setattr(connection, "_PROBE", 2.0)
        late = asyncio.create_task(bus.probe())
        await eventually(lambda: bus.nc._pongs)  # it has asked
        monkeypatch.setattr(connection, "_PROBE", 0.1)
        await bus.probe()
        await eventually(lambda: bus.nc.is_connected and bus.nc.stats["reconnects"] == 1)
        await late
        assert bus.nc.is_connected
        await bus.nc.flush()
        assert bus.nc.stats["reconnects"] == 1
    await proxy.stop()
