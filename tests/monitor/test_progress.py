"""Restarts are forgotten once a container was well for long: it ran, nothing was wrong, and its handlers moved on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stenobus_bus import apply
from stenobus_contracts import AsrDone, BlobRef, MonitorIncident
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.actions.budget import Restarted
from stenobus_monitor.actions.progress import Progress
from stenobus_monitor.containers import Container
from stenobus_monitor.graph import Graph
from stenobus_monitor.incidents import Entry
from stenobus_monitor.store import Store
from stenobus_testing import Stage, eventually

from .test_watch import counter

NOW = datetime.now(UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def ran(minutes: float) -> Container:
    """A container of the plugin that ran for so long until now."""
    return Container(
        id="id",
        name="worker",
        started=ago(minutes),
        status="exited",
        finished=NOW,
        labels={"stenobus.plugin": "acme-count"},
    )


async def begin(stage: Stage) -> tuple[Progress, Store]:
    await apply(stage.bus, needs(stage.settings, [plugin, counter()]))
    store, graph = await Store.open(stage.bus), Graph()
    graph.handler("acme-count", "acme-count", ("asr.done",))
    return Progress(stage.bus, store, graph), store


async def test_it_has_to_run_for_ten_minutes_since_the_restart(stage: Stage) -> None:
    progress, _ = await begin(stage)
    last = Restarted(action="a", name="worker", at=ago(20))
    assert await progress.well(ran(11), last, "now", NOW)
    assert not await progress.well(ran(9), last, "now", NOW)
    assert not await progress.well(ran(20), last.model_copy(update={"at": ago(9)}), "now", NOW)


async def test_another_incident_since_then_means_that_it_was_not_well(stage: Stage) -> None:
    progress, store = await begin(stage)
    last = Restarted(action="a", name="worker", at=ago(20))
    other = MonitorIncident(
        incident_id="other", fingerprint="f", kind="container.unhealthy", severity="warning", title="unwell",
        component="container:worker", started_at=ago(15),
    )  # fmt: skip
    await store.put_incident(Entry(incident=other, status="open", latest_at=ago(15)))
    assert not await progress.well(ran(18), last, "now", NOW)
    assert await progress.well(ran(18), last, "other", NOW)  # that is the one at hand
    assert await progress.well(ran(12), last.model_copy(update={"at": ago(14)}), "now", NOW)


async def test_its_handlers_have_to_move_on_where_something_waits(stage: Stage) -> None:
    progress, _ = await begin(stage)
    floors = await progress.floors(ran(12))
    assert floors == {"acme-count": 0}
    last = Restarted(action="a", name="worker", at=ago(20), floors=floors)
    assert await progress.well(ran(12), last, "now", NOW)  # nothing waits
    await stage.publish(AsrDone(transcript=BlobRef(uri="nats://stenobus/none", sha256="0" * 64, size=1)))
    assert not await progress.well(ran(12), last, "now", NOW)
    await stage.run(counter())
    await eventually(lambda: stage.settled("acme-count", "ASR"), within=60)
    assert await progress.well(ran(12), last, "now", NOW)
    assert (await progress.floors(ran(12)))["acme-count"] > 0
