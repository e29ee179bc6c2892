"""Pause and resume as remedies: on a real server, with the run record as their only witness."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import pause as bus_pause
from stenobus_contracts import AsrDone, BlobRef, MonitorIncident
from stenobus_core import Plugin
from stenobus_monitor.actions import Outlook
from stenobus_monitor.actions.pause import Pause, Paused, Resume
from stenobus_monitor.collectors import Emit
from stenobus_monitor.collectors.bus import BusCollector
from stenobus_monitor.errors import ActionFailed
from stenobus_monitor.incidents import Entry
from stenobus_monitor.observations import HandlerSeen, Observation
from stenobus_testing import Stage, eventually, still

from .remedial import action, failed, killed, now, opened, record

EVENT = AsrDone(transcript=BlobRef(uri="nats://stenobus/none", sha256="0" * 64, size=1))


def counter(seen: list[AsrDone]) -> Plugin:
    plugin = Plugin("acme-count", summary="Counts")

    @plugin.handler(track=False)
    async def count(event: AsrDone) -> None:
        """Count."""
        seen.append(event)

    return plugin


def keeping(looks: list[Observation]) -> Emit:
    async def emit(seen: Observation) -> None:
        looks.append(seen)

    return emit


async def held(stage: Stage) -> list[datetime | None]:
    return [place.paused_until for place in await bus_pause.places(stage.bus, "acme-count")]


async def test_a_handler_whose_event_kills_is_paused_verified_and_let_go(stage: Stage) -> None:
    seen: list[AsrDone] = []
    await stage.run(counter(seen))
    store, runs = await opened(stage.bus)
    remedy, wanted = Pause(stage.bus, runs, store), action("pause", "acme-count", seconds=600)
    await record(runs, "acme-count", "e1", "running", killed(1, 20), killed(2, 10))
    outlook = await remedy.look(wanted)
    assert outlook.obstacles == ()
    assert "event e1 ended its process 2 times" in outlook.dry_run
    assert await held(stage) == [None], "a look changes nothing"

    await remedy.act(wanted, outlook.before)
    (until,) = await held(stage)
    assert until == Paused.model_validate(outlook.before).until
    await remedy.act(wanted, outlook.before)  # its process died before it could say so
    assert await held(stage) == [until]
    looks: list[Observation] = []
    await BusCollector(stage.bus, pauses=store.pauses).look(keeping(looks))
    assert [seen.ours for seen in looks if isinstance(seen, HandlerSeen)] == [True]
    await stage.publish(EVENT)
    assert "1 events" in await remedy.verify(wanted, outlook.before)
    await still(lambda: not seen, 0.3)

    await remedy.undo(wanted, outlook.before)
    await eventually(lambda: len(seen) == 1)
    assert "already" in await remedy.undo(wanted, outlook.before)


async def test_without_harm_in_the_run_record_there_is_no_pause(stage: Stage) -> None:
    await stage.run(counter([]))
    store, runs = await opened(stage.bus)
    remedy = Pause(stage.bus, runs, store)

    async def obstacles() -> tuple[str, ...]:
        return (await remedy.look(action("pause", "acme-count"))).obstacles

    assert any("no harm" in each for each in await obstacles())
    await record(runs, "acme-count", "e1", "running", killed(1, 20))
    for number in range(3):
        await record(runs, "acme-count", f"f{number}", "retrying", failed(1, 20))
    assert await obstacles() == ()
    await record(runs, "acme-count", "w", "done", finished=now())
    assert any("no harm" in each for each in await obstacles()), "others went well since"
    await record(runs, "acme-count", "e2", "running", killed(1, 9), killed(1, 8))
    assert any("no harm" in each for each in await obstacles()), "one of the two was handed back by a stop"


@pytest.mark.parametrize(
    ("target", "parameters", "says"),
    [
        ("acme-none", {}, "no handler acme-none"),
        ("monitor-alert", {}, "the monitor's own"),
        ("acme-count", {"seconds": 0}, "seconds"),
        ("acme-count", {"seconds": 10**9}, "seconds"),
        ("acme-count", {"for": "ever"}, "for"),
        ("../$JS.API.>", {}, "no handler"),
    ],
)
async def test_what_speaks_against_a_pause(stage: Stage, target: str, parameters: dict[str, Any], says: str) -> None:
    await stage.run(counter([]))
    store, runs = await opened(stage.bus)
    await record(runs, "acme-count", "e1", "running", killed(1, 20), killed(2, 10))
    remedy = Pause(stage.bus, runs, store)
    outlook = await remedy.look(action("pause", target, **parameters))
    assert any(says in each for each in outlook.obstacles), outlook


async def test_a_pause_of_people_is_theirs(stage: Stage) -> None:
    await stage.run(counter([]))
    store, runs = await opened(stage.bus)
    await record(runs, "acme-count", "e1", "running", killed(1, 20), killed(2, 10))
    pause, wanted = Pause(stage.bus, runs, store), action("pause", "acme-count")
    outlook = await pause.look(wanted)
    (place,) = await bus_pause.places(stage.bus, "acme-count")
    theirs = (now() + timedelta(days=1)).replace(microsecond=0)
    await bus_pause.pause(stage.bus, place, theirs)
    assert any("paused already" in each for each in (await pause.look(wanted)).obstacles)
    looks: list[Observation] = []
    await BusCollector(stage.bus, pauses=store.pauses).look(keeping(looks))
    assert [(seen.paused, seen.ours) for seen in looks if isinstance(seen, HandlerSeen)] == [(True, False)]
    await pause.act(wanted, outlook.before)
    assert await held(stage) == [theirs]
    with pytest.raises(ActionFailed, match="that pause stays"):
        await pause.undo(wanted, outlook.before)
    resume = Resume(stage.bus, store)
    assert "somebody else paused it" in (await resume.look(action("resume", "acme-count"))).obstacles


async def test_a_pause_that_does_not_hold_is_no_success(stage: Stage) -> None:
    await stage.run(counter([]))
    store, runs = await opened(stage.bus)
    remedy, wanted = Pause(stage.bus, runs, store, within=0.1), action("pause", "acme-count")
    before = (await remedy.look(wanted)).before
    with pytest.raises(ActionFailed, match="still delivers"):
        await remedy.verify(wanted, before)
    late = Pause(stage.bus, runs, store, clock=lambda: now() + timedelta(hours=1))
    with pytest.raises(ActionFailed, match="over already"):
        await late.act(wanted, before)
    with pytest.raises(ActionFailed, match="until"):
        await remedy.act(wanted, {"nonsense": 1})


async def test_a_paused_handler_goes_on_once_its_trouble_is_over(stage: Stage) -> None:
    seen: list[AsrDone] = []
    host = await stage.run(counter(seen))
    store, runs = await opened(stage.bus)
    await record(runs, "acme-count", "e1", "running", killed(1, 20), killed(2, 10))
    pause, paused = Pause(stage.bus, runs, store), action("pause", "acme-count")
    await pause.act(paused, (await pause.look(paused)).before)
    resume, wanted = Resume(stage.bus, store), action("resume", "acme-count")
    assert "no event waits for it" in (await resume.look(wanted)).obstacles
    await stage.publish(EVENT)
    incident = MonitorIncident(
        incident_id="i9",
        fingerprint="f",
        kind="event.kills_worker",
        severity="critical",
        title="t",
        component="event:acme-count/e1",
        started_at=now(),
    )
    await store.put_incident(Entry(incident=incident, latest_at=now()))

    async def only(*obstacles: str) -> Outlook | None:
        """The outlook once nothing else is in the way: on a busy machine a process may answer late."""
        outlook = await resume.look(wanted)
        return outlook if outlook.obstacles == obstacles else None

    await eventually(lambda: only("incident i9 is not over"))
    over = incident.model_copy(update={"status": "resolved", "resolved_at": now()})
    await store.put_incident(Entry(incident=over, latest_at=now()))
    outlook = await eventually(only)

    await resume.act(wanted, outlook.before)
    assert "gets events again" in await resume.verify(wanted, outlook.before)
    await eventually(lambda: len(seen) == 1)
    await resume.act(wanted, outlook.before)
    assert await held(stage) == [None]
    await resume.undo(wanted, outlook.before)
    (until,) = await held(stage)
    assert until is not None and until > now()

    await host.stop(grace=0)
    assert "no process answers for it" in (await resume.look(wanted)).obstacles


async def test_a_handler_that_gets_nothing_has_not_gone_on(stage: Stage) -> None:
    host = await stage.run(counter([]))
    store, _ = await opened(stage.bus)
    await host.stop(grace=0)
    await stage.publish(EVENT)
    resume, wanted = Resume(stage.bus, store, within=0.1), action("resume", "acme-count")
    with pytest.raises(ActionFailed, match="still gets no events"):
        await resume.verify(wanted, (await resume.look(wanted)).before)
