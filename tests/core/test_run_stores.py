"""The run record on the bus, and its copies beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stenobus_bus import AccessDenied, Bus, PermanentError, RetryableError, RetryPolicy
from stenobus_core import Context, CoreSettings, Plugin, PluginError
from stenobus_core.mirror import Mirror, consumer
from stenobus_core.run_stores import copies
from stenobus_core.runs import BUCKET, Runs, Step
from stenobus_core.services import Services
from stenobus_testing.run_store_contract import NOON, RunStoreContract, seconds
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Ping
from ..support.installed import Site


@pytest.fixture
def bus_topology(core_settings: CoreSettings) -> list[object]:
    from stenobus_core.services import topology

    return topology(core_settings.bucket)


class TestContract(RunStoreContract):
    @pytest.fixture
    async def store(self, bus: Bus) -> Runs:
        return await Runs.open(bus)


class Shelf:
    """A store in memory that can be away or refuse, and notes what it was given."""

    def __init__(self) -> None:
        self.kept: dict[str, Step] = {}
        self.puts: list[Step] = []
        self.trouble: Exception | None = None
        self.closed = False

    async def put(self, step: Step) -> bool:
        self.puts.append(step)
        if self.trouble is not None:
            raise self.trouble
        self.kept[step.key] = step
        return True

    async def steps(self, run: str) -> list[Step]:
        if self.trouble is not None:
            raise self.trouble
        return [step for step in self.kept.values() if step.run == run]

    async def latest(self, limit: int) -> list[str]:
        if self.trouble is not None:
            raise self.trouble
        return list(dict.fromkeys(step.run for step in self.kept.values()))[:limit]

    async def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    async def close(self) -> None:
        self.closed = True


def step(run: str, **more: object) -> Step:
    return RunStoreContract.step(run, **more)


@pytest.fixture
async def runs(bus: Bus) -> Runs:
    return await Runs.open(bus)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def mirror(bus: Bus, runs: Runs, shelf: Shelf) -> AsyncIterator[Mirror]:
    mirror = Mirror(bus, "shelf", shelf, retry=RetryPolicy(base=0.01, cap=0.02))
    yield mirror
    await mirror.stop()


async def test_every_last_state_is_copied_also_of_what_was_written_before(
    mirror: Mirror, runs: Runs, shelf: Shelf
) -> None:
    early = step("early")
    await runs.put(early)
    await mirror.start()
    await eventually(lambda: shelf.kept == {early.key: early})
    late = [step("late", event_id=f"e{n}", status="done") for n in range(200)]
    await asyncio.gather(*(runs.put(each) for each in late))
    await eventually(lambda: len(shelf.kept) == 201)
    assert {copy.key: copy for copy in await runs.steps("late")} == {each.key: each for each in late}
    assert await shelf.steps("early") == [early]


async def test_a_stop_waits_until_what_was_written_is_copied(bus: Bus, runs: Runs, shelf: Shelf) -> None:
    gate = Gate()

    class Slow(Shelf):
        async def put(self, step: Step) -> bool:
            await gate()
            return await super().put(step)

    slow = Slow()
    mirror = Mirror(bus, "slow", slow)
    await mirror.start()
    for number in range(20):
        await runs.put(step("talk", event_id=f"e{number}"))
    await eventually(lambda: gate.waiting)
    stopping = asyncio.create_task(mirror.stop(10))
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.open()
    await stopping
    assert len(slow.kept) == 20


async def test_what_a_stopped_mirror_left_over_the_next_one_copies(bus: Bus, runs: Runs, shelf: Shelf) -> None:
    shelf.trouble = RetryableError("throttled.", delay=3600)
    first = Mirror(bus, "shelf", shelf)
    await first.start()
    await runs.put(step("talk"))
    await eventually(lambda: shelf.puts)
    await first.stop(0.01)
    assert not shelf.kept
    shelf.trouble = None
    second = Mirror(bus, "shelf", shelf)
    await second.start()
    await eventually(lambda: shelf.kept)
    await second.stop()


async def test_a_store_that_is_away_gets_everything_when_it_is_back(mirror: Mirror, runs: Runs, shelf: Shelf) -> None:
    shelf.trouble = RetryableError("it is throttled.")
    await mirror.start()
    for number in range(10):
        await runs.put(step("talk", event_id=f"e{number}"))
    await eventually(lambda: len(shelf.puts) > 20)  # tried again and again
    assert len({put.event_id for put in shelf.puts}) <= 4  # and never more than the hands at once
    shelf.trouble = None
    await eventually(lambda: len(shelf.kept) == 10)


async def test_one_that_has_to_be_mended_does_not_hold_the_hands(
    mirror: Mirror, runs: Runs, shelf: Shelf, bus: Bus
) -> None:
    await mirror.start()
    shelf.trouble = PermanentError("access is denied.")
    for number in range(10):
        await runs.put(step("talk", event_id=f"e{number}"))
    await eventually(lambda: len({put.event_id for put in shelf.puts}) == 10)
    info = await bus.api(f"CONSUMER.INFO.KV_{BUCKET}.{consumer('shelf').name}")
    assert info["num_ack_pending"] == 10  # they wait for another try


async def test_a_store_that_cannot_be_used_is_said_at_the_start(mirror: Mirror, shelf: Shelf) -> None:
    shelf.trouble = PermanentError("The table is missing: make it.")
    with pytest.raises(PluginError, match="The run store shelf cannot be used: The table is missing: make it"):
        await mirror.start()


async def test_an_entry_that_is_no_step_is_passed_over(mirror: Mirror, runs: Runs, shelf: Shelf, bus: Bus) -> None:
    await bus.nc.publish(f"$KV.{BUCKET}.talk.asr.x", b"{not a step")
    await mirror.start()
    await runs.put(step("talk"))
    await eventually(lambda: shelf.kept)

    async def idle() -> bool:
        info = await bus.api(f"CONSUMER.INFO.KV_{BUCKET}.{consumer('shelf').name}")
        return info["num_pending"] == info["num_ack_pending"] == 0

    await eventually(idle)


# --- in a host -------------------------------------------------------------------------------------------------------

SHELF = """
    from pathlib import Path

    from stenobus_core.runs import Step


    class Shelf:
        def __init__(self, folder):
            self.folder = folder

        async def put(self, step):
            self.folder.mkdir(exist_ok=True, parents=True)
            (self.folder / step.key).write_text(step.model_dump_json())
            return True

        async def steps(self, run):
            return [Step.model_validate_json(path.read_text()) for path in self.folder.glob(f"{run}.*")]

        async def latest(self, limit):
            return sorted({path.name.split(".")[0] for path in self.folder.glob("*")})[:limit]

        async def check(self):
            pass

        async def close(self):
            pass


    def shelf(settings):
        return Shelf(settings.data_dir / "shelf")


    def unset(settings):
        return None


    def broken(settings):
        raise ValueError("no such shelf.")
"""


def install(site: Site, name: str) -> None:
    site.install(name, SHELF, entry=f"installed_{name}:{name}", group="stenobus.run_stores")


async def test_a_host_copies_its_runs_until_it_ends_and_they_can_be_read_without_the_bus(
    stage: Stage, site: Site, settings: CoreSettings
) -> None:
    install(site, "shelf")
    plugin = Plugin(unique("copied"))

    @plugin.handler()
    async def work(event: Ping, ctx: Context) -> None:
        ctx.note(number=event.number)

    host = await stage.run(plugin)
    await stage.publish(Ping(number=7), run="talk-7")
    await eventually(lambda: host.workers[plugin.name].handled)
    await host.stop(10)
    services = await Services.open(settings, stage.bus)
    live = await services.steps("talk-7")
    assert [found.status for found in live] == ["done"]
    await stage.bus.api(f"STREAM.PURGE.KV_{BUCKET}")
    assert await services.runs.steps("talk-7") == []
    assert await services.steps("talk-7") == live
    assert await services.latest(5) == ["talk-7"]
    await services.close()


async def test_copies_that_cannot_be_read_hide_nothing_that_the_bus_knows(
    stage: Stage, settings: CoreSettings, shelf: Shelf
) -> None:
    services = await Services.open(settings, stage.bus)
    shelf.trouble = RetryableError("it is throttled.")
    reading = replace(services, copies={"shelf": shelf})
    await services.runs.put(step("known", started=datetime.now(UTC)))
    assert await reading.latest(5) == ["known"]
    assert [found.run for found in await reading.steps("known")] == ["known"]
    assert await reading.steps("unknown") == []
    await reading.close()
    assert shelf.closed


def test_a_store_that_nobody_set_up_is_none_and_a_broken_one_is_named(site: Site) -> None:
    install(site, "unset")
    assert copies(CoreSettings()) == {}
    install(site, "broken")
    with pytest.raises(PluginError, match="The run store broken cannot start: no such shelf"):
        copies(CoreSettings())


async def test_a_user_that_may_not_read_the_record_leaves_copying_to_others(
    stage: Stage, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "shelf")

    async def denied(mirror: Mirror) -> None:
        raise AccessDenied("This user may not.")

    monkeypatch.setattr(Mirror, "start", denied)
    plugin = Plugin(unique("denied"))

    @plugin.handler()
    async def work(event: Ping) -> None:
        pass

    host = await stage.run(plugin)
    assert host.ready


def test_the_order_of_states_is_that_of_their_story() -> None:
    story = [
        step("talk"),
        step("talk", changed=seconds(1), progress=0.1),
        step("talk", changed=seconds(0.5), status="retrying"),
        step("talk", attempt=2, started=seconds(-3), changed=NOON),
        step("talk", attempt=2, started=seconds(-3), changed=NOON, status="done"),
    ]
    assert sorted(story, key=lambda state: state.order) == story
    assert json.loads(story[1].model_dump_json())["changed"]
