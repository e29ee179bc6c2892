"""The bus itself goes away: people hear of it without the bus, and the bus hears of it afterwards."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_bus.history import read
from stenobus_contracts import MonitorIncident
from stenobus_core import CoreSettings
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.collectors.bus import BusCollector
from stenobus_monitor.incidents import Policy
from stenobus_monitor.rules.blindness import Blindness
from stenobus_monitor.store import Store
from stenobus_monitor.watch import Watch
from stenobus_testing import eventually


async def test_an_outage_is_told_without_the_bus_and_published_when_it_is_back(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "nats", port=0)
    url = await server.start()
    port = int(url.rpartition(":")[2])
    out = io.StringIO()
    async with await Bus.connect(url) as bus:
        await apply(bus, needs(CoreSettings(data_dir=tmp_path), [plugin]))
        policy = Policy(group_wait=timedelta(seconds=0.05), settle=timedelta(seconds=0.1))
        watch = Watch(bus, await Store.open(bus), [BusCollector(bus, every=0.1)], [Blindness()], policy, out=out)
        await watch.start()
        await server.stop()
        await eventually(lambda: "The bus does not answer" in out.getvalue())
        assert out.getvalue().count("CRITICAL") == 1

        server = EmbeddedServer(tmp_path / "nats", port=port)
        assert await server.start() == url
        begin = datetime.now(UTC) - timedelta(hours=1)

        async def told() -> list[MonitorIncident]:
            stored = read(bus, "MONITOR", MonitorIncident.subject, since=begin)
            return [MonitorIncident.model_validate_json(message.data) async for message in stored]

        async def over() -> bool:
            return any(incident.status == "resolved" for incident in await told())

        await eventually(over)
        opened, resolved = (await told())[0], (await told())[-1]
        assert (opened.kind, resolved.status) == ("bus.unreachable", "resolved")
        assert opened.incident_id == resolved.incident_id
        await watch.stop()
    await server.stop()
