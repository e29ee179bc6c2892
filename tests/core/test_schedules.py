"""Schedules of plugins: declared, run by hosts, shown and changed by operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Occurrence
from stenobus_bus.history import read
from stenobus_bus.schedules import Schedules
from stenobus_contracts import Event
from stenobus_core import Context, CoreSettings, Plugin, PluginError, SettingsError
from stenobus_core.timetable import timetable
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually

from ..support.command import Command
from ..support.contracts import Ping, Pong
from ..support.installed import Site

#: A plugin with a schedule that never comes due while tests run, and one that is over.
NIGHTLY = '''
    from datetime import UTC, datetime

    from stenobus_contracts import Event
    from stenobus_core import Plugin


    class AcmeTick(Event, subject="acme.tick"):
        """It is time."""

        number: int = 1


    plugin = Plugin("acme-clock")
    plugin.schedule("nightly", cron="0 0 0 1 1 *", timezone="America/Santiago", event=AcmeTick(number=7))
    plugin.schedule("past", at=datetime(2020, 1, 1, tzinfo=UTC), event=AcmeTick())
'''


def made(occurrence: Occurrence) -> Ping:
    return Ping(number=occurrence.at.second)


def unsaid(occurrence: Occurrence):  # type: ignore[no-untyped-def]
    return Ping(number=1)


# --- declaring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Ping(number=1), made])
def test_an_event_or_the_function_that_makes_it_says_the_contract(event: Event | Callable[[Occurrence], Event]) -> None:
    plugin = Plugin("acme")
    plugin.schedule("nightly", cron="0 0 0 * * *", event=event)
    (schedule,) = plugin.schedules
    assert (schedule.id, schedule.contract) == ("acme.nightly", Ping)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "say when by exactly one of cron=…, every=… and at=…"),
        ({"cron": "0 0 0 * * *", "every": timedelta(1)}, "exactly one of"),
        ({"cron": "0 0 * * *"}, "has five fields; put the second first"),
        ({"cron": "0 0 0 * * *", "timezone": "Santiago"}, "There is no time zone 'Santiago'"),
        ({"every": timedelta(1), "timezone": "Europe/Berlin"}, r"timezone=… belongs to cron=…"),
        ({"every": timedelta(seconds=0.5)}, "whole seconds, at least one"),
        ({"at": datetime(2027, 1, 1)}, "says no time zone"),
        ({"every": timedelta(1), "catch_up": "twice"}, "catch_up must be one of once, all, skip"),
        ({"every": timedelta(1), "event": unsaid}, "a function whose return annotation is its contract"),
        ({"every": timedelta(1), "event": Ping}, "event=… must be an event"),
        ({"every": timedelta(1), "name": "Nightly"}, "the name must be at most 40 lower-case letters"),
        ({"every": timedelta(1), "name": "n" * 41}, "the name must be at most 40 lower-case letters"),
        ({"every": timedelta(1), "name": "taken"}, "is declared twice"),
    ],
)
def test_a_wrong_schedule_is_one_sentence_that_names_it(options: dict[str, Any], sentence: str) -> None:
    plugin = Plugin("acme")
    plugin.schedule("taken", every=timedelta(1), event=Ping(number=1))
    name = options.pop("name", "nightly")
    with pytest.raises(PluginError, match=f"acme: schedule '{name}'.*{sentence}"):
        plugin.schedule(name, **{"event": Ping(number=1), **options})


# --- running ----------------------------------------------------------------------------------------------------------


async def test_hosts_of_one_plugin_fire_for_whoever_handles_the_event(stage: Stage) -> None:
    clock, listener = Plugin(unique("clock")), Plugin(unique("listener"))
    clock.schedule("tick", every=timedelta(seconds=1), event=made)
    runs: list[str] = []

    @listener.handler()
    async def listen(event: Ping, ctx: Context[Any, Any]) -> Pong:
        runs.append(ctx.run)
        return Pong(number=event.number)

    first, _ = await stage.run(clock), await stage.run(clock)
    assert first.ready
    await stage.run(listener)
    await eventually(lambda: len(runs) >= 2)
    assert len(runs) == len(set(runs))
    assert all(run.startswith(f"{clock.name}-tick-20") for run in runs)


async def test_a_host_that_starts_again_removes_what_its_plugin_no_longer_has(stage: Stage) -> None:
    name = unique()
    other, old, new = Plugin(unique()), Plugin(name), Plugin(name)
    for plugin, schedule in ((other, "theirs"), (old, "kept"), (old, "gone"), (new, "kept")):
        plugin.schedule(schedule, every=timedelta(days=1), event=Ping(number=1))
    await stage.run(old, other)
    await stage.run(new)
    assert await (await Schedules.open(stage.bus)).ids() == sorted([f"{other.name}.theirs", f"{name}.kept"])


@pytest.mark.parametrize("what", ["{}", "{}.nightly"])
async def test_a_schedule_that_is_switched_off_is_taken_from_the_server(stage: Stage, what: str) -> None:
    plugin = Plugin(unique())
    plugin.schedule("nightly", every=timedelta(days=1), event=Ping(number=1))
    await stage.run(plugin)
    schedules = await Schedules.open(stage.bus)
    assert await schedules.ids() == [f"{plugin.name}.nightly"]
    await stage.run(plugin, schedules_off=(what.format(plugin.name),))
    assert await schedules.ids() == []


@pytest.mark.parametrize(
    ("text", "zone"),
    [("0 30 3 * * *", "America/Santiago"), ("0 30 3 * * * Europe/Berlin", "Europe/Berlin")],
)
def test_a_setting_gives_a_schedule_another_time(monkeypatch: pytest.MonkeyPatch, text: str, zone: str) -> None:
    plugin = Plugin("acme")
    plugin.schedule("nightly", cron="0 0 0 * * *", timezone="America/Santiago", event=Ping(number=1))
    monkeypatch.setenv("STENOBUS_SCHEDULES", f'{{"acme.nightly": "{text}"}}')
    (schedule,) = timetable(CoreSettings.load("core"), [plugin])
    assert (schedule.timing.text, schedule.timing.zone.key) == ("0 30 3 * * *", zone)


def test_a_wrong_time_in_the_settings_is_one_sentence() -> None:
    plugin = Plugin("acme")
    plugin.schedule("nightly", every=timedelta(days=1), event=Ping(number=1))
    with pytest.raises(SettingsError, match=r"schedules in \[core\]\), acme.nightly: The cron .* has five fields"):
        timetable(CoreSettings(schedules={"acme.nightly": "0 0 * * *"}), [plugin])


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(stenobus: Command, monkeypatch: pytest.MonkeyPatch, site: Site) -> Command:
    site.install("acme-clock", NIGHTLY)
    monkeypatch.setenv("STENOBUS_PLUGINS", "acme-clock")
    return stenobus


def test_schedules_are_planned_applied_and_listed(clock: Command) -> None:
    assert [entry["state"] for entry in clock.json("schedules", "list")] == ["undeclared", "undeclared"]
    assert "create schedule acme-clock.nightly" in clock("bus", "plan", expect=2).output
    clock("bus", "apply")
    clock("bus", "plan")
    nightly, past = clock.json("schedules", "list")
    assert (nightly["name"], nightly["plugin"], nightly["state"]) == ("acme-clock.nightly", "acme-clock", "armed")
    assert (nightly["timing"], nightly["timezone"]) == ("0 0 0 1 1 *", "America/Santiago")
    assert nightly["subject"] == "acme.tick"
    assert nightly["last"] is None
    year = datetime.now(UTC).year + 1
    assert nightly["next"][0]["utc"] == f"{year}-01-01T03:00:00Z"
    assert nightly["next"][0]["local"] == f"{year}-01-01T00:00:00-03:00"
    assert len(nightly["next"]) == 3
    assert (past["state"], past["next"]) == ("over", [])
    assert "acme-clock.nightly" in clock("schedules", "list").output


def test_a_changed_schedule_is_listed_as_such_and_updated(clock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    clock("bus", "apply")
    monkeypatch.setenv("STENOBUS_SCHEDULES", '{"acme-clock.nightly": "0 0 3 1 1 *"}')
    assert clock.json("schedules", "list")[0]["state"] == "changed"
    assert "update schedule acme-clock.nightly (timing: '0 0 0 1 1 *' → '0 0 3 1 1 *')" in clock("bus", "apply").output
    assert clock.json("schedules", "list")[0]["state"] == "armed"


def test_one_that_is_off_or_whose_plugin_is_gone_is_listed(clock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    clock("bus", "apply")
    monkeypatch.setenv("STENOBUS_SCHEDULES_OFF", "acme-clock.nightly")
    assert [entry["state"] for entry in clock.json("schedules", "list")] == ["off", "over"]
    monkeypatch.setenv("STENOBUS_PLUGINS", "acme")
    monkeypatch.setenv("STENOBUS_PLUGINS_OFF", "acme-clock")
    assert [entry["state"] for entry in clock.json("schedules", "list")] == ["orphaned", "orphaned"]
    clock("bus", "apply")
    assert len(clock.json("schedules", "list")) == 2
    clock("schedules", "remove", "acme-clock.past")
    assert [entry["name"] for entry in clock.json("schedules", "list")] == ["acme-clock.nightly"]


def test_only_a_schedule_without_its_plugin_can_be_removed_by_hand(clock: Command) -> None:
    clock("bus", "apply")
    sentence = clock.fails("schedules", "remove", "acme-clock.nightly")
    assert sentence == "The plugin acme-clock is here and would declare it again; set STENOBUS_SCHEDULES_OFF instead."
    assert clock.fails("schedules", "remove", "acme-clock.x") == (
        "The server knows no schedule acme-clock.x; `stenobus schedules list` shows what there is."
    )


def test_a_schedule_can_be_run_by_hand(clock: Command, server: EmbeddedServer) -> None:
    clock("bus", "apply")
    first, second = (clock.json("schedules", "run", "acme-clock.nightly") for _ in range(2))
    assert first["run"].startswith("acme-clock-nightly-20")
    assert first["run"] != second["run"]

    async def stored() -> list[tuple[str, bytes]]:
        async with await Bus.connect(server.url) as bus:
            return [(message.run, message.data) async for message in read(bus, "ACME", "acme.tick")]

    assert asyncio.run(stored()) == [(first["run"], b'{"number":7}'), (second["run"], b'{"number":7}')]
    assert clock.json("schedules", "list")[0]["last"] is None
    assert "published acme.tick, run acme-clock-nightly-20" in clock("schedules", "run", "acme-clock.nightly").output


def test_an_unknown_schedule_is_one_sentence(clock: Command) -> None:
    known = "known: acme-clock.nightly, acme-clock.past."
    assert clock.fails("schedules", "run", "nightly") == f"There is no schedule nightly; {known}"


def test_without_schedules_the_list_says_so(stenobus: Command) -> None:
    assert stenobus("schedules", "list").output == "There are no schedules.\n"
    assert stenobus.fails("schedules", "run", "x") == "There is no schedule x; no installed plugin declares one."
