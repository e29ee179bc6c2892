"""The monitor under its own user of a server that lets nobody do more than he needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stenobus_bus import Access, AccessDenied, Bus, Envelope, advisories, apply
from stenobus_contracts import AsrDone, BlobRef, MonitorActionApproved, MonitorIncident
from stenobus_core import CoreSettings, Host
from stenobus_core.access import ADMIN, bucket_permissions, operator_permissions, plugin_permissions
from stenobus_core.host import needs
from stenobus_core.users import Users
from stenobus_monitor import plugin
from stenobus_monitor.actions.holds import Hold
from stenobus_monitor.store import Store
from stenobus_testing import eventually

from ..support.servers import nats_server
from .test_watch import counter


async def test_its_own_rights_are_enough_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CoreSettings(ack_wait=1, grace=0, data_dir=tmp_path / "data")
    users = Users.open(tmp_path / "users")
    users.add("monitor", "plugin", plugin_permissions(plugin, needs(settings, [plugin]), settings.bucket))
    users.add("operator", "operator", operator_permissions(settings.bucket) | bucket_permissions(plugin))
    users.add("admin", "admin", ADMIN)
    users.write()
    with nats_server(tmp_path / "server", 'include "../users/users.conf"') as server:

        async def connect(name: str) -> Bus:
            return await Bus.connect(server.url(), access=Access(credentials=users.credentials(name)))

        async with await connect("admin") as admin, await connect("monitor") as own:
            await apply(admin, [*needs(settings, [plugin, counter()]), advisories.consumer()])
            event = AsrDone(transcript=BlobRef(uri="nats://stenobus/none", sha256="0" * 64, size=1))
            await admin.publish(event, Envelope.new(event, "test"))
            monkeypatch.setenv("STENOBUS_NATS_URL", server.url())
            monkeypatch.setenv("STENOBUS_NATS_CREDS", str(users.credentials("monitor")))
            monkeypatch.setenv("STENOBUS_MONITOR_POLL", "0.2")
            monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)
            host = Host(settings, own, [plugin])
            with capture_logs() as logs:
                await host.start()
            off = [(line["event"], line["log_level"]) for line in logs if line["event"] != "plugin.started"]
            assert off == [("undertaker.off", "info")]  # it sees the undertaker, and may not do his work
            try:
                told = await admin.js.pull_subscribe("monitor.incident", stream="MONITOR")
                found: dict[str, MonitorIncident] = {}

                async def both() -> bool:
                    for message in await told.fetch(1, timeout=60):
                        incident = MonitorIncident.model_validate_json(message.data)
                        found[incident.kind] = incident
                        await message.ack()
                    return {"handler.absent", "blob.missing"} <= found.keys()

                await eventually(both)
                assert not any(kind.startswith(("bus.", "monitor.")) for kind in found)
            finally:
                await host.stop(grace=0)
            with pytest.raises(AccessDenied):
                await own.api("STREAM.DELETE.ASR")
            with pytest.raises(AccessDenied):
                await (await own.acks.send("asr.done", b"{}", timeout=60))
            with pytest.raises(AccessDenied):
                await (await own.acks.send("monitor.action.approved", b"{}", timeout=60))
            async with await connect("operator") as operator:
                approved = MonitorActionApproved(action_id="none", approved_by="ops", token="none")
                await operator.publish(approved, Envelope.new(approved, "test"))
                store = await Store.open(operator)
                await store.put_hold(Hold(id="h", component="container:kb", by="ops"))
                assert await store.remove_hold("h")
