"""Remedies under their own user, on a server that lets nobody do more than he needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenobus_bus import Access, AccessDenied, Bus, Envelope, apply
from stenobus_bus.topology import ConsumerSpec
from stenobus_contracts import AsrDone, BlobRef, Media, MediaUploaded, MonitorActionApproved
from stenobus_core import CoreSettings
from stenobus_core.access import ADMIN, client_permissions, plugin_permissions
from stenobus_core.blobs import Blobs
from stenobus_core.host import needs
from stenobus_core.runs import Runs
from stenobus_core.users import Users
from stenobus_monitor import plugin
from stenobus_monitor.actions.pause import Pause
from stenobus_monitor.actions.quarantine import Quarantine
from stenobus_monitor.actions.replay import Replay
from stenobus_monitor.errors import ActionFailed
from stenobus_monitor.store import Store

from ..support.servers import nats_server
from .remedial import action, failed, killed, now, opened, record
from .test_replay import DONE, graph


async def test_its_rights_are_enough_for_every_remedy_on_the_bus_and_those_of_the_monitor_are_not(
    tmp_path: Path,
) -> None:
    settings = CoreSettings(data_dir=tmp_path / "data")
    users = Users.open(tmp_path / "users")
    users.add("monitor", "plugin", plugin_permissions(plugin, needs(settings, [plugin]), settings.bucket))
    rights = client_permissions(plugin.clients["monitor-remedies"], settings.bucket)
    users.add("monitor-remedies", "client", rights)
    users.add("admin", "admin", ADMIN)
    users.write()
    with nats_server(tmp_path / "server", 'include "../users/users.conf"') as server:

        async def connect(name: str) -> Bus:
            return await Bus.connect(server.url(), access=Access(credentials=users.credentials(name)))

        async with (
            await connect("admin") as admin,
            await connect("monitor") as watching,
            await connect("monitor-remedies") as bus,
        ):
            await opened(admin)
            await apply(
                admin,
                [
                    ConsumerSpec("MEDIA", "acme-read", "media.uploaded"),
                    ConsumerSpec("ASR", "acme-doc", "asr.done", begin="new"),
                ],
            )
            runs, store = await Runs.open(bus), await Store.open(watching)
            ref = await admin.objects.put(b"poison", "text/plain")
            media = MediaUploaded(media=Media(uri=ref.uri, sha256=ref.sha256))
            envelope = Envelope.new(media, "test")
            await admin.publish(media, envelope)
            tries = killed(1, 30), killed(2, 20), failed(3, 10)
            common = {"run": envelope.run, "subject": "media.uploaded", "stored": now()}
            await record(await Runs.open(admin), "acme-read", envelope.id, "retrying", *tries, **common)
            await record(await Runs.open(admin), "acme-read", "well", "done", finished=now())

            wanted = action("pause", "acme-read")
            watcher = Pause(watching, await Runs.open(watching), store)
            outlook = await watcher.look(wanted)
            assert outlook.obstacles == (), "looking takes no more than the monitor may"
            with pytest.raises(ActionFailed, match="REMEDY_CREDS"):
                await watcher.act(wanted, outlook.before)
            pause = Pause(bus, runs, store)
            await pause.act(wanted, outlook.before)
            await pause.verify(wanted, outlook.before)
            await pause.undo(wanted, outlook.before)

            wanted = action("quarantine", f"acme-read/{envelope.id}")
            pull = await admin.js.pull_subscribe_bind("acme-read", "MEDIA")
            await pull.fetch(1)
            own = await Quarantine(watching, Blobs(settings, watching), runs, store).look(wanted)
            assert any("REMEDY_CREDS" in each for each in own.obstacles), "said before it is proposed"
            quarantine = Quarantine(bus, Blobs(settings, bus), runs, store, within=0.1)
            outlook = await quarantine.look(wanted)
            assert outlook.obstacles == ()
            others = f"nats://other/{ref.sha256}"
            with pytest.raises(AccessDenied):
                await bus.objects.may_move(others, bus.objects.aside(others, "a1"))
            await quarantine.act(wanted, outlook.before)
            await quarantine.verify(wanted, outlook.before)
            assert (await admin.api("CONSUMER.INFO.MEDIA.acme-read"))["num_ack_pending"] == 0
            await quarantine.undo(wanted, outlook.before)

            await admin.api("CONSUMER.DELETE.ASR.acme-doc")
            await admin.publish(DONE, Envelope.new(DONE, "test", run="talk"))
            await apply(admin, [ConsumerSpec("ASR", "acme-doc", "asr.done", begin="new")])
            replay, wanted = Replay(bus, runs, graph()), action("replay", "talk")
            outlook = await replay.look(wanted)
            assert outlook.obstacles == ()
            assert "1 of 1" in await replay.act(wanted, outlook.before)

            with pytest.raises(AccessDenied):
                await bus.api("STREAM.MSG.DELETE.ASR", {"seq": 1})
            with pytest.raises(AccessDenied):
                await bus.api("STREAM.PURGE.ASR")
            event = AsrDone(transcript=BlobRef(uri="nats://stenobus/none", sha256="0" * 64, size=1))
            with pytest.raises(AccessDenied):
                await watching.publish(event, Envelope.new(event, "test"), deadline=5)
            approval = MonitorActionApproved(action_id="a", approved_by="itself", token="t")
            with pytest.raises(AccessDenied):
                await bus.publish(approval, Envelope.new(approval, "test"), deadline=5)
