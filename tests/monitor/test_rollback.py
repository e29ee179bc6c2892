"""Which image a container had before, and when going back to it is suggested."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stenobus_bus import Bus
from stenobus_contracts import Level, MonitorIncident
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.actions.proposing import Proposing
from stenobus_monitor.actions.rollback import Rollback
from stenobus_monitor.containers import Container
from stenobus_monitor.errors import ActionFailed
from stenobus_monitor.findings import line
from stenobus_monitor.incidents import Entry
from stenobus_monitor.observations import ContainerSeen, ContainerStarted
from stenobus_monitor.rules.images import Images
from stenobus_monitor.store import Store

from .remedial import action, now, opened

#: The time of everything here: these tests may run long after they were read.
BEGAN = now()
OLD = Container(
    id="c1",
    name="asr-1",
    image="asr:1",
    digest="sha256:aaa",
    started=BEGAN - timedelta(hours=5),
    labels={"stenobus.plugin": "asr"},
)
NEW = replace(
    OLD,
    id="c2",
    image="asr:2",
    digest="sha256:bbb",
    started=BEGAN - timedelta(minutes=10),
    memory_limit=1024,
    labels={"stenobus.plugin": "asr,ocr"},
)


async def seen(store: Store, *containers: Container) -> Images:
    """The record, by way of the store, as the watch keeps it."""
    rule = Images()
    for each in containers:
        assert list(rule.observe(ContainerSeen(at=now(), container=each))) == []
    await store.put("rule.images", rule.state())
    return rule


async def began(store: Store, minutes: float) -> None:
    incident = MonitorIncident(
        incident_id="i1",
        fingerprint="f",
        kind="container.crash_loop",
        severity="critical",
        title="t",
        component="container:asr-1",
        started_at=BEGAN - timedelta(minutes=minutes),
    )
    await store.put_incident(Entry(incident=incident, latest_at=now()))


async def test_trouble_after_a_new_image_suggests_the_one_before_and_nothing_is_done(bus: Bus) -> None:
    store, _ = await opened(bus)
    await seen(store, OLD, OLD, NEW, NEW)
    await began(store, 5)
    remedy, wanted = Rollback(store), action("rollback", "asr-1")
    outlook = await remedy.look(wanted)
    assert outlook.obstacles == ()
    assert "make asr-1 from asr:1 (sha256:aaa) again" in outlook.dry_run
    assert "now it is asr:2 (sha256:bbb)" in outlook.dry_run
    assert "stenobus.plugin: asr → asr,ocr; memory limit: none → 1024" in outlook.dry_run
    for refused in (remedy.act, remedy.verify, remedy.undo):
        with pytest.raises(ActionFailed, match="only suggested"):
            await refused(wanted, outlook.before)


class Trusting:
    """Has seen every action be right."""

    async def allows(self, kind: str, incident_kind: str) -> bool:
        return True


async def test_it_is_proposed_at_most_and_only_where_there_is_something_to_suggest(bus: Bus) -> None:
    store, _ = await opened(bus)
    levels: dict[str, Level] = {"rollback": "automatic"}
    proposing = Proposing(
        store,
        {"rollback": Rollback(store)},
        Approvals(None),
        Trusting(),
        None,
        levels=levels,
        holds_for=timedelta(minutes=5),
        able=True,
    )
    await began(store, 5)
    entry = await store.incident("i1")
    assert entry is not None
    proof = (line("event", "container:asr-1", "died three times"),)
    incident = entry.incident.model_copy(update={"evidence": proof})
    await seen(store, NEW)
    assert await proposing.propose(incident) == []
    await seen(store, OLD, NEW)
    (proposed,) = await proposing.propose(incident)
    assert (proposed.action.kind, proposed.level) == ("rollback", "propose")
    assert proposed.dry_run is not None and "sha256:aaa" in proposed.dry_run


@pytest.mark.parametrize(
    ("containers", "minutes", "says"),
    [
        ((NEW,), 5, "no earlier image"),
        ((OLD, replace(OLD, id="c3")), 5, "no earlier image"),
        ((OLD, NEW), 20, "before the image changed"),
        ((OLD, replace(NEW, started=BEGAN - timedelta(days=2))), 5, "long before the trouble"),
    ],
)
async def test_what_speaks_against_it(bus: Bus, containers: tuple[Container, ...], minutes: float, says: str) -> None:
    store, _ = await opened(bus)
    await seen(store, *containers)
    await began(store, minutes)
    (obstacle,) = (await Rollback(store).look(action("rollback", "asr-1"))).obstacles
    assert says in obstacle


async def test_an_unknown_incident_and_a_damaged_record(bus: Bus) -> None:
    store, _ = await opened(bus)
    await seen(store, OLD, NEW)
    assert (await Rollback(store).look(action("rollback", "asr-1"))).obstacles == ("the incident is not known",)
    await store.put("rule.images", {"asr-1": "nonsense"})
    assert (await Rollback(store).look(action("rollback", "asr-1"))).obstacles == (
        "no earlier image of asr-1 is known",
    )


def test_what_is_remembered_is_bounded() -> None:
    rule = Images()
    for number in range(600):
        each = replace(OLD, name=f"c{number}", digest=f"sha256:{number}")
        rule.observe(ContainerStarted(at=now(), container=each))
    for number in range(10):
        rule.observe(ContainerStarted(at=now(), container=replace(OLD, name="c599", digest=f"sha256:x{number}")))
    assert len(rule.known) == 100 and "c0" not in rule.known
    assert [each.digest for each in rule.known["c599"]] == ["sha256:x7", "sha256:x8", "sha256:x9"]
    again = Images()
    again.restore(rule.state())
    assert again.known == rule.known
