"""What was left behind is published again: for whom it is, as often as it is, and when its cause is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stenobus_bus import Envelope, RetryableError, RetryPolicy, apply
from stenobus_bus import pause as bus_pause
from stenobus_bus.topology import ConsumerSpec
from stenobus_contracts import AsrDone, BlobRef, DocReady, DocumentSource, Event
from stenobus_core import Plugin
from stenobus_monitor.actions.replay import Replay
from stenobus_monitor.errors import ActionFailed
from stenobus_monitor.graph import Flow, Graph
from stenobus_testing import Stage, eventually
from stenobus_testing.forgetting import forget_duplicates

from .remedial import action, now, opened, record

REF = BlobRef(uri="nats://stenobus/none", sha256="0" * 64, size=1)
DONE = AsrDone(transcript=REF)


def graph() -> Graph:
    known = Graph()
    known.declare("acme-doc", Flow("acme-doc", frozenset({"asr.done"}), frozenset({"doc.ready"})))
    known.declare("acme-aside", Flow("acme-aside", frozenset({"asr.done"})))
    known.follows("asr.done", "doc.ready")
    return known


def documents(make: Callable[[], Event | None], **more: Any) -> Plugin:
    plugin = Plugin("acme-doc", summary="Documents")

    @plugin.handler(retry=RetryPolicy(attempts=2, base=0.01), **more)
    async def doc(event: AsrDone) -> DocReady | None:
        """Make it."""
        made = make()
        assert made is None or isinstance(made, DocReady)
        return made

    return plugin


def ready() -> DocReady:
    source = DocumentSource(title="Talk", transcript=REF)
    return DocReady(title="Talk", source=source, markdown=REF, docx=REF, transcript=REF, method="extractive")


async def gave_up(stage: Stage, count: int = 1) -> bool:
    """So many steps have failed, and say so: the dead letter is stored a moment before."""
    return sum(step.status == "failed" for step in await stage.steps()) >= count


async def remedy(stage: Stage, **more: Any) -> Replay:
    _, runs = await opened(stage.bus)
    return Replay(stage.bus, runs, graph(), **{"within": 30.0, **more})


async def passed(stage: Stage, run: str) -> Envelope:
    """A run whose event the consumer has passed, though nobody worked on it: made anew, it began behind it."""
    await opened(stage.bus)
    envelope = await stage.publish(DONE, run=run)
    await apply(stage.bus, [ConsumerSpec("ASR", "acme-doc", "asr.done", ack_wait=1, begin="new")])
    return envelope


async def test_a_run_that_nobody_took_up_goes_on_and_nobody_else_hears_of_it(stage: Stage) -> None:
    made: list[int] = []
    envelope = await passed(stage, "talk")
    others: list[AsrDone] = []
    aside = Plugin("acme-aside", summary="Others")

    @aside.handler()
    async def listen(event: AsrDone) -> None:
        """Hear."""
        others.append(event)

    def make() -> DocReady:
        made.append(1)
        return ready()

    await stage.run(documents(make), aside)
    replay, wanted = await remedy(stage), action("replay", "talk", because="run.orphaned")
    await eventually(lambda: others)
    outlook = await replay.look(wanted)
    assert outlook.obstacles == ()
    assert "1 events of 1 runs again (talk), for acme-doc alone" in outlook.dry_run
    assert made == [] and len(await stage.stored(AsrDone)) == 1, "a look changes nothing"

    await replay.act(wanted, outlook.before)
    assert await replay.verify(wanted, outlook.before) == "1 of 1 events are handled"
    # Called again after a crash, and after the server's window for duplicates.
    await forget_duplicates(stage.bus, "ASR")
    await eventually(lambda: stage.settled("acme-aside", "ASR"))
    await replay.act(wanted, outlook.before)
    await stage.run_until_idle()
    assert (made, len(others)) == ([1], 1)
    assert len(await stage.stored(AsrDone)) == 2
    (document,) = await stage.stored(DocReady)
    assert document.run == "talk" and document.attributes["causationid"] == envelope.id
    with pytest.raises(ActionFailed, match="Nothing is found"):
        outlook = await replay.look(wanted)
        raise ActionFailed(outlook.obstacles[0])
    with pytest.raises(ActionFailed, match="cannot be taken back"):
        await replay.undo(wanted, outlook.before)


async def test_a_dead_letter_of_the_run_is_what_it_waits_for(stage: Stage) -> None:
    down = True

    def make() -> DocReady:
        if down:
            raise RetryableError("the model is away")
        return ready()

    await stage.run(documents(make))
    await stage.publish(DONE, run="talk")
    await eventually(lambda: gave_up(stage))
    down = False
    replay, wanted = await remedy(stage), action("replay", "talk")
    outlook = await replay.look(wanted)
    assert outlook.obstacles == ()
    for _ in range(2):
        await replay.act(wanted, outlook.before)
    assert await replay.verify(wanted, outlook.before) == "1 of 1 events are handled"
    assert await stage.letters() == [] and len(await stage.stored(DocReady)) == 1


async def test_a_handler_that_was_done_and_said_nothing_does_it_again(stage: Stage) -> None:
    silent = True
    await stage.run(documents(lambda: None if silent else ready()))
    await stage.publish(DONE, run="talk")
    await stage.run_until_idle()
    silent = False
    replay, wanted = await remedy(stage), action("replay", "talk")
    outlook = await replay.look(wanted)
    assert outlook.obstacles == ()
    await replay.act(wanted, outlook.before)
    assert "1 of 1" in await replay.verify(wanted, outlook.before)
    assert len(await stage.stored(DocReady)) == 1


async def test_what_the_ledger_knows_was_done_though_no_step_says_so(stage: Stage) -> None:
    await opened(stage.bus)
    await stage.run(documents(ready, track=False))
    await stage.publish(DONE, run="talk")
    await eventually(lambda: stage.stored(DocReady))
    await eventually(lambda: stage.settled("acme-doc", "ASR"))
    (obstacle,) = (await (await remedy(stage)).look(action("replay", "talk"))).obstacles
    assert "Nothing is found" in obstacle


async def test_what_speaks_against_it(stage: Stage) -> None:
    await passed(stage, "talk")
    _, runs = await opened(stage.bus)
    replay, wanted = await remedy(stage), action("replay", "talk")
    assert (await replay.look(wanted)).obstacles == ()
    (place,) = await bus_pause.places(stage.bus, "acme-doc")
    await bus_pause.pause(stage.bus, place, now() + timedelta(hours=1))
    assert (await replay.look(wanted)).obstacles == ("acme-doc is paused",)
    await bus_pause.resume(stage.bus, place)
    await record(runs, "acme-doc", "other", "running", run="talk", stored=now())
    assert (await replay.look(wanted)).obstacles == ("acme-doc works on it",)
    later = await stage.publish(DONE, run="later")
    assert f"event {later.id} waits for acme-doc" in (await replay.look(action("replay", "later"))).obstacles
    for target in ("none", "../x", "a b", "x" * 3000, "*", ">"):
        outlook = await replay.look(action("replay", target))
        assert outlook.obstacles and outlook.before is None
    assert "limit" in (await replay.look(action("replay", "talk", limit=10**6))).obstacles[0]


async def test_an_event_that_its_handler_calls_hopeless_is_not_tried_again(stage: Stage) -> None:
    def make() -> DocReady:
        from stenobus_bus import PermanentError

        raise PermanentError("never")

    await stage.run(documents(make))
    await stage.publish(DONE, run="talk")
    await eventually(lambda: gave_up(stage))
    (obstacle,) = (await (await remedy(stage)).look(action("replay", "talk"))).obstacles
    assert "is a dead letter of acme-doc: permanent" in obstacle


async def test_what_fails_again_or_is_not_taken_up_is_no_success(stage: Stage) -> None:
    await passed(stage, "talk")
    replay, wanted = await remedy(stage, within=0.3), action("replay", "talk")
    outlook = await replay.look(wanted)
    await replay.act(wanted, outlook.before)
    with pytest.raises(ActionFailed, match="1 of 1 events were not taken up"):
        await replay.verify(wanted, outlook.before)

    def make() -> DocReady:
        raise RetryableError("still away")

    await stage.run(documents(make))
    await eventually(lambda: gave_up(stage))
    with pytest.raises(ActionFailed, match="1 of 1 events failed again"):
        await replay.verify(wanted, outlook.before)


async def test_dead_letters_are_retried_once_their_cause_is_over_and_bounded(stage: Stage) -> None:
    down, made = True, []

    def make() -> DocReady:
        if down:
            raise RetryableError("the model is away")
        made.append(1)
        return ready()

    await stage.run(documents(make))
    for number in range(3):
        await stage.publish(DONE, run=f"talk-{number}")
    await eventually(lambda: gave_up(stage, 3))
    replay, wanted = await remedy(stage), action("replay", "acme-doc", letters=True)
    assert "the cause is not over" in (await replay.look(wanted)).obstacles[0]
    down = False
    await stage.publish(DONE, run="well")
    await eventually(lambda: made)
    await stage.run_until_idle()
    assert (await replay.look(action("replay", "acme-doc", letters=True, limit=2))).obstacles == (
        "3 events are more than the limit of 2",
    )
    outlook = await replay.look(wanted)
    assert outlook.obstacles == () and "3 events of 3 runs" in outlook.dry_run
    await replay.act(wanted, outlook.before)
    assert "0 of 3" in await replay.act(wanted, outlook.before)
    assert await replay.verify(wanted, outlook.before) == "3 of 3 events are handled"
    assert len(made) == 4 and await stage.letters() == []
    assert any("no dead letters" in each for each in (await replay.look(wanted)).obstacles)
