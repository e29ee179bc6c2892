"""A collection belongs to one run at a time, and to no dead one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from stenobus_bus import Bus
from stenobus_bus.cell import Cell
from stenobus_contracts import KbSync
from stenobus_core import remembered
from stenobus_sources import lease
from stenobus_sources.events import SourceDone, SourceDue
from stenobus_sources.lease import ALIVE, PAUSE, Lease, Lost
from stenobus_testing import Gate, Stage
from stenobus_testing.waiting import eventually

from .conftest import KB, SOURCES, Setup
from .site import Asked, Site

NUMBERS = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(bus: Bus, clock: Clock) -> tuple[Lease, Lease]:
    key = f"tests.run{next(NUMBERS)}"
    first, second = (Lease(Cell(bus, key, remembered.BUCKET), who, clock) for who in ("first", "second"))
    return first, second


async def test_the_next_run_waits_for_as_long_as_there_are_signs_of_life(
    leases: tuple[Lease, Lease], clock: Clock
) -> None:
    first, second = leases
    assert await first.take() and await first.take()
    for _ in range(5):
        clock.now += ALIVE - 1
        assert not await second.take()
        assert await first.hold(ALIVE)
    await first.release()
    assert await second.take()
    assert not await first.take()


async def test_a_run_that_is_dead_for_a_minute_has_lost_its_collection_for_good(
    leases: tuple[Lease, Lease], clock: Clock
) -> None:
    first, second = leases
    await first.take()
    clock.now += ALIVE + 1
    assert await second.take()
    assert not await first.hold(ALIVE)
    await second.release()
    with pytest.raises(Lost, match="first gave no sign of life"):
        await first.take()


async def test_a_late_run_goes_on_where_nobody_was_waiting(leases: tuple[Lease, Lease], clock: Clock) -> None:
    first, second = leases
    await first.take()
    clock.now += PAUSE
    assert await first.hold(PAUSE)
    clock.now += PAUSE - 1
    assert not await second.take()
    assert await first.take()


async def test_a_run_that_ended_may_be_taken_up_again(leases: tuple[Lease, Lease]) -> None:
    first, second = leases
    await first.take()
    await first.release()
    await second.take()
    await second.release()
    assert await first.take()


@pytest.fixture
def gate(site: Site, setup: Setup) -> Gate:
    """Where requests to a site with one event wait."""
    gate = Gate()

    async def hold(asked: Asked) -> None:
        await gate()

    site.before = hold
    site.add("event", "Feria")
    setup.wordpress(site)
    return gate


async def test_a_run_gives_signs_of_life_while_it_works(
    gate: Gate, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "ALIVE", 0.3)
    await stage.run(SOURCES, KB)
    await stage.publish(SourceDue())
    await eventually(lambda: gate.waiting == 1)
    signs = set()

    async def several() -> bool:
        signs.add((await held(stage))["until"])
        return len(signs) > 3

    await eventually(several)
    gate.open()
    outcome = await stage.run_until_idle()
    assert outcome.letters == () and len(outcome.of(SourceDone)) == 1
    assert (await held(stage))["until"] == 0


async def test_a_run_ends_in_the_middle_of_its_work_when_another_one_has_its_collection(
    gate: Gate, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "ALIVE", 0.3)
    await stage.run(SOURCES, KB)
    await stage.publish(SourceDue())
    await eventually(lambda: gate.waiting == 1)

    def taken(value: dict[str, Any]) -> tuple[dict[str, Any], None]:
        return {"run": "another", "until": 0.0, "lost": [value["run"]]}, None

    await remembered.cell(stage.bus, "sources", "run.eventos").change(taken)
    outcome = await stage.run_until_idle(60)
    gate.open()
    [letter] = outcome.letters
    assert letter.letter.handler == "sources-extract" and "no sign of life" in letter.letter.message
    assert (await held(stage))["run"] == "another"


async def test_a_run_that_comes_to_life_again_after_another_one_ends(
    gate: Gate, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "ALIVE", 3_600.0)  # it is dead when the test says so
    await stage.run(SOURCES, KB)
    await stage.publish(SourceDue())
    await eventually(lambda: gate.waiting == 1)

    def as_if_dead(value: dict[str, Any]) -> tuple[dict[str, Any], None]:
        return value | {"until": datetime.now(UTC).timestamp() - 1}, None

    await remembered.cell(stage.bus, "sources", "run.eventos").change(as_if_dead)
    await stage.publish(SourceDue())
    await eventually(lambda: gate.waiting == 2)
    gate.open()
    outcome = await stage.run_until_idle(60)
    [letter] = outcome.letters
    assert letter.letter.handler == "sources-extract" and "no sign of life" in letter.letter.message
    assert (len(outcome.of(SourceDone)), len(outcome.of(KbSync))) == (1, 1)


async def held(stage: Stage) -> Any:
    """Who holds the events, and until when."""
    return (await remembered.cell(stage.bus, "sources", "run.eventos")._read())[0]
