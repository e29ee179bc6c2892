"""The whole plugin on a real bus: what the bus and the pipeline have to say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from stenobus_bus import apply
from stenobus_contracts import AsrDone, BlobRef, MonitorIncident
from stenobus_core import Plugin
from stenobus_core.host import needs
from stenobus_monitor import plugin as monitor
from stenobus_monitor.silences import Silence
from stenobus_monitor.store import Store
from stenobus_testing import NatsServer, Stage, eventually


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer) -> None:
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_POLL", "0.2")
    monkeypatch.setenv("STENOBUS_MONITOR_SETTLE", "0.2")
    monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)


async def incident(stage: Stage, wanted: Callable[[MonitorIncident], bool]) -> MonitorIncident:
    """The first incident of a kind that was published."""

    async def find() -> MonitorIncident | None:
        stored = [MonitorIncident.model_validate_json(each.data) for each in await stage.stored(MonitorIncident)]
        return next((each for each in stored if wanted(each)), None)

    found: MonitorIncident = await eventually(find)
    return found


def counter() -> Plugin:
    plugin = Plugin("acme-count", summary="Counts")

    @plugin.handler()
    async def count(event: AsrDone) -> None:
        """Nothing."""

    return plugin


async def test_events_that_nobody_handles_are_noticed_and_their_end_by_another_monitor(stage: Stage) -> None:
    worker = await stage.run(counter())
    await worker.stop(grace=0)
    await stage.publish(AsrDone(transcript=await stage.put(b"words")))
    first = await stage.run(monitor)
    opened = await incident(stage, lambda each: each.kind == "handler.absent")
    assert opened.component == "handler:acme-count"
    assert any("1 pending" in line.text for line in opened.evidence)
    await first.stop(grace=0)

    await stage.run(monitor)
    await stage.run(counter())
    resolved = await incident(stage, lambda each: each.component == opened.component and each.status == "resolved")
    assert (resolved.incident_id, resolved.revision) == (opened.incident_id, 2)


async def test_content_that_is_not_what_its_event_says_is_found(stage: Stage) -> None:
    good = await stage.put(b"words")
    bad = BlobRef(uri=good.uri, sha256="0" * 64, size=good.size)
    await stage.run(monitor)
    await stage.publish(AsrDone(transcript=good))
    await stage.publish(AsrDone(transcript=bad), run="damaged")
    found = await incident(stage, lambda each: each.kind.startswith("blob."))
    assert found.kind == "blob.mismatch" and "run damaged" in found.title
    assert [line.kind for line in found.evidence] == ["blob"]


async def test_a_silence_that_somebody_asked_for_is_kept(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    await apply(stage.bus, needs(stage.settings, [monitor]))
    store = await Store.open(stage.bus)
    until = datetime.now(UTC) + timedelta(hours=1)
    await store.put_silence(Silence(id="maintenance", kind="handler.*", until=until, by="ops"))
    worker = await stage.run(counter())
    await worker.stop(grace=0)
    await stage.publish(AsrDone(transcript=await stage.put(b"words")))
    await stage.run(monitor)
    found = await incident(stage, lambda each: each.kind == "handler.absent")
    await stage.run_until_idle()
    assert found.silenced
    assert found.incident_id not in capsys.readouterr().out
