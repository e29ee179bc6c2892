"""Remedies from the fault to the proof: a real server, engine, executor and monitor, and somebody who approves.

Each test takes a case of the evaluation, lets its fault happen, waits for the proposal, sees that nothing is done
without an approval, approves as people do, and looks at the engine and the bus themselves for what came of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from stenobus_bus import BlobNotFound, Bus, dead_letters
from stenobus_bus.pause import places
from stenobus_contracts import BlobRef
from stenobus_core.blobs import Blobs
from stenobus_core.runs import Runs
from stenobus_core.settings import CoreSettings
from stenobus_monitor.actions.course import Course
from stenobus_monitor.evaluation.case import Publish, load
from stenobus_monitor.evaluation.faults import carry_out
from stenobus_monitor.evaluation.image import build
from stenobus_monitor.evaluation.model import ModelServer, Script
from stenobus_monitor.evaluation.outcome import Acted
from stenobus_monitor.evaluation.person import Person
from stenobus_monitor.evaluation.record import Record
from stenobus_monitor.evaluation.world import World
from stenobus_monitor.store import Store
from stenobus_testing import eventually

from ..support.containers import SOCKET
from ..support.engine import base_image, engine

#: For what takes several rounds of several processes on a machine that is busy with something else.
SOON = 180.0

pytestmark = pytest.mark.timeout(600)


@dataclass
class Trial:
    """A case under way."""

    world: World
    record: Record
    #: Who knows what they approved before: the same trouble is sometimes proposed twice.
    person: Person

    @property
    def bus(self) -> Bus:
        return self.world.bus

    async def actions(self, kind: str) -> list[Acted]:
        """What is known of actions of a kind so far."""
        await self.record.look()
        return [each for each in self.record.outcome(0).actions if each.kind == kind]

    async def proposed(self, kind: str) -> Acted:
        """The proposal, once there is one that people may approve."""

        async def waiting() -> Acted | None:
            return next((each for each in await self.actions(kind) if each.level == "approve"), None)

        found: Acted = await eventually(waiting, within=SOON)
        return found

    async def approved(self, kind: str, *, undo: bool = False) -> Course:
        """What became of it once somebody approved it; or, ``undo``, that it is taken back."""
        wanted = "undone" if undo else "succeeded"

        async def ended() -> Acted | None:
            known = await self.actions(kind)
            await self.person.answer(known, undo=undo)
            assert not [each for each in known if each.outcome == "failed"]
            return next((each for each in known if each.outcome == wanted), None)

        found: Acted = await eventually(ended, within=SOON)
        course = await (await Store.open(self.bus)).course(found.id)
        assert course is not None and course.outcome == wanted and course.approved_by
        return course

    async def over(self, kind: str) -> None:
        """Until the monitor says that the trouble of that kind is over."""

        async def resolved() -> bool:
            await self.record.look()
            told = [each for each in self.record.outcome(0).incidents if kind in each.kinds]
            return bool(told) and all(each.status == "resolved" for each in told)

        await eventually(resolved, within=SOON)


@asynccontextmanager
async def trial(name: str) -> AsyncIterator[Trial]:
    """A case's world, with its fault. It is removed in the end."""
    client, models = engine(), ModelServer()
    (case,) = [case for case in load() if case.name == name]
    await models.start()
    script = models.scripts[name] = Script(case)
    world = World(client, build(client, base_image(client)), str(SOCKET), case, models.url(name))
    record = Record(world)
    try:
        await world.start()
        for step in case.before:
            await carry_out(step, world, script)
        record.begin = datetime.now(UTC).timestamp()
        for step in case.steps:
            await carry_out(step, world, script)
        person = world.person()
        assert person is not None
        yield Trial(world, record, person)
    finally:
        await world.stop()
        await models.stop()
        client.close()


async def test_a_hung_container_is_restarted_once_somebody_types_the_command() -> None:
    async with trial("approved-restart") as hung:
        began = hung.world.containers.state("worker")["StartedAt"]
        proposal = await hung.proposed("restart")
        assert proposal.target == "worker"
        assert hung.world.containers.state("worker")["StartedAt"] == began, "nobody has approved it"

        course = await hung.approved("restart")
        assert course.approved_by and "it answers on the bus" in course.detail
        assert [step.stage for step in course.trail][:5] == ["proposed", "approved", "checked", "started", "verified"]
        state = hung.world.containers.state("worker")
        assert state["Running"] and state["StartedAt"] > began
        assert '"restart"' in (hung.world.folder / "executor.json").read_text(), "the executor did it"
        await eventually(lambda: hung.world.server.serves("probe"), within=SOON)
        await hung.over("container.hung")


async def test_a_handler_is_paused_by_the_link_of_an_alert_and_goes_on_when_that_is_taken_back() -> None:
    async with trial("approved-pause") as refusing:
        await refusing.proposed("pause")
        assert [place.paused_until for place in await places(refusing.bus, "probe")] == [None]

        course = await refusing.approved("pause")
        assert course.approved_by == "eval", "who approved is the name of the key on the page"
        (held,) = await places(refusing.bus, "probe")
        assert held.paused_until is not None and held.paused_until > datetime.now(UTC)
        await carry_out(Publish(do="publish"), refusing.world, Script(refusing.world.case))
        assert [place.pending for place in await places(refusing.bus, "probe")] == [1]

        await refusing.approved("pause", undo=True)

        async def goes_on() -> bool:
            (place,) = await places(refusing.bus, "probe")
            return place.paused_until is None and not place.pending and not place.unsettled

        await eventually(goes_on, within=SOON)


async def test_letters_that_were_left_are_replayed_once_an_event_approves_it() -> None:
    async with trial("approved-replay") as left:
        await left.proposed("replay")
        stale = [entry async for entry in dead_letters.letters(left.bus, "probe")]
        assert len(stale) == 6

        course = await left.approved("replay")
        assert "6 of 6 events are handled" in course.detail
        assert [entry async for entry in dead_letters.letters(left.bus, "probe")] == []
        runs = await Runs.open(left.bus)
        for entry in stale:
            steps = await runs.steps(entry.letter.run)
            assert "done" in {step.status for step in steps if step.handler == "probe"}


async def test_a_poison_file_is_set_aside_and_comes_back() -> None:
    async with trial("approved-quarantine") as poisoned:
        core = CoreSettings(nats_url=poisoned.world.server.url, data_dir=poisoned.world.folder / "data")
        blobs = Blobs(core, poisoned.bus)
        proposal = await poisoned.proposed("quarantine")
        event_id = proposal.target.partition("/")[2]
        assert not [each for each in await poisoned.actions("quarantine") if each.done], "nobody has approved it"

        course = await poisoned.approved("quarantine")
        assert isinstance(course.before, dict)
        content = course.before["content"]
        assert isinstance(content, dict)
        ref = BlobRef.model_validate({"uri": content["uri"], "sha256": content["sha256"], "size": content["size"]})
        aside = ref.model_copy(update={"uri": str(content["to"])})
        assert len(await blobs.read(aside)) == ref.size
        with pytest.raises(BlobNotFound):
            await blobs.read(ref)
        (letter,) = [entry async for entry in dead_letters.letters(poisoned.bus, "probe")]
        assert letter.letter.event_id == event_id

        await poisoned.approved("quarantine", undo=True)
        assert len(await blobs.read(ref)) == ref.size, "with the hash that it had"
        with pytest.raises(BlobNotFound):
            await blobs.read(aside)
        await blobs.close()
