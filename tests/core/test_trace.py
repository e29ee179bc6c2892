"""What `stenobus trace` makes of a run."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from stenobus_bus import Bus, PermanentError, RetryPolicy
from stenobus_bus.dead_letters import Entry
from stenobus_bus.history import Remembered, read, replay
from stenobus_contracts import DeadLetter
from stenobus_core import Context, Plugin
from stenobus_core.cli.trace import picture
from stenobus_core.lineage import Lineage, Node, fold, lineage
from stenobus_core.runs import Step, Try
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Answer, Ask, Ping, Pong

QUICK = RetryPolicy(attempts=2, base=0.01)
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def whole(stage: Stage, run: str) -> Lineage:
    events = [event async for event in read(stage.bus, "TEST", "test.>", run=run)]
    return lineage(run, events, await stage.steps(run), await stage.letters())


def shape(node: Node) -> Any:
    """The labels of a tree."""
    return node.label if not node.children else {node.label: [shape(child) for child in node.children]}


def lines(found: Lineage, width: int = 120, limit: int = 0) -> list[str]:
    return [line.plain for line in picture(found, width, limit)]


async def test_outputs_hang_on_their_handler_and_answers_on_their_question(stage: Stage) -> None:
    asking, answering, reading = Plugin("asking"), Plugin("answering"), Plugin("reading")

    @asking.handler(requests=[Ask])
    async def ask(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=1, text=(await ctx.request(Ask(question="?"))).text)

    @answering.handler()
    async def answer(event: Ask, ctx: Context[Any, Any]) -> Answer:
        ctx.note(tokens=7, cost_usd="0.0500")
        return Answer(text="!")

    @reading.handler(track=False)
    async def see(event: Pong) -> Ping | None:
        return Ping(number=2) if event.number < 0 else None

    await stage.run(asking, answering, reading)
    await stage.publish(Ping(number=1), run="one")
    await eventually(lambda: _settled(stage, "asking", "answering", "reading"))
    found = await whole(stage, "one")
    assert shape(found.root) == {
        "one": [{"test.ping": [{"asking": [{"test.ask": [{"answering": ["test.answer"]}]}, "test.pong"]}]}]
    }
    totals = found.totals
    assert (totals.events, totals.steps, totals.tokens, totals.cost) == (4, 2, 7, Decimal("0.0500"))
    assert found.trace in (await stage.stored(Ping))[0].headers["traceparent"]
    assert any("answering" in line and line.endswith("$0.0500") for line in lines(found))


async def _settled(stage: Stage, *handlers: str) -> bool:
    return all([await stage.settled(name) for name in handlers])


async def test_attempts_of_two_processes_are_shown_with_their_errors_and_times(stage: Stage) -> None:
    plugin, gate = Plugin(unique("tried")), Gate()

    @plugin.handler(retry=RetryPolicy(attempts=5, base=0.01))
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        if ctx.attempt == 1:
            raise ValueError("not loaded\nyet")
        await gate()

    host = await stage.run(plugin)
    await stage.publish(Ping(number=1), run="one")
    await eventually(lambda: gate.waiting == 1)
    await eventually(lambda: _status(stage, "running"))
    await host.stop(grace=0)
    gate.open()
    await stage.run(plugin)
    await eventually(lambda: _status(stage, "done"))
    (step,) = await stage.steps("one")
    assert [(one.attempt, one.error) for one in step.tries] == [
        (1, "not loaded\nyet"), (2, "handed back by a process that stopped"),
    ]  # fmt: skip
    assert step.tries[0].seconds is not None and step.tries[1].seconds is None
    text = "\n".join(lines(await whole(stage, "one")))
    assert "not loaded yet" in text and "attempt 2: handed back" in text
    assert text.index("not loaded yet") < text.index("handed back")


async def _status(stage: Stage, wanted: str) -> bool:
    return [step.status for step in await stage.steps("one")] == [wanted]


async def test_a_process_that_ended_in_the_middle_leaves_an_attempt_behind(stage: Stage) -> None:
    plugin = Plugin(unique("killed"))

    @plugin.handler(retry=QUICK)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        await asyncio.Event().wait()

    lost_bus = await Bus.connect(stage.bus.nc.connected_url.geturl())
    await stage.run(plugin, bus=lost_bus)
    await stage.publish(Ping(number=1), run="one")
    await eventually(lambda: _status(stage, "running"))
    await lost_bus.nc.close()  # what a kill leaves: no more signs of life, and nothing handed back
    await stage.run(plugin)

    async def taken_over() -> list[Try]:
        (step,) = await stage.steps("one")
        return list(step.tries) if step.attempt == 2 else []

    (lost,) = await eventually(taken_over)
    assert (lost.attempt, lost.seconds, lost.error) == (1, None, "the process ended")


async def test_replays_are_put_together_and_dead_letters_cannot_be_overlooked(stage: Stage) -> None:
    plugin, behind = Plugin("first"), Plugin("behind")

    @plugin.handler()
    async def work(event: Ping) -> Pong:
        return Pong(number=event.number)

    @behind.handler(retry=QUICK, track=False)
    async def fail(event: Pong, ctx: Context[Any, Any]) -> None:
        raise PermanentError("there is no room")

    await stage.run(plugin, behind)
    await stage.publish(Ping(number=1), run="one")
    await eventually(lambda: stage.letters("behind"))
    again = await replay(stage.bus, "first", await stage.stored(Ping))

    async def both() -> bool:
        return len(await stage.letters("behind")) == 2

    await eventually(both)
    found = await whole(stage, "one")
    course = {"test.ping": [{"first": [{"test.pong": ["behind"]}]}]}
    assert shape(found.root) == {"one": [course, {f"replay {again}": [course]}]}
    assert (found.totals.dead_letters, found.totals.replays) == (2, 1)
    red = [line for line in picture(found, 80) if "dead letter 1: permanent" in line.plain]
    assert len(red) == 1 and "there is no room" in red[0].plain
    assert any("red" in str(span.style) for span in red[0].spans)


# --- records that were made for the test -----------------------------------------------------------------------------


def event(number: int, subject: str = "test.ping", *, after: float = 0.0, **headers: str) -> Remembered:
    stored = int((BEGIN + timedelta(seconds=after)).timestamp() * 1e9)
    attributes = {"ce-id": f"e{number}", "ce-correlationid": "one", **{f"ce-{k}": v for k, v in headers.items()}}
    return Remembered("TEST", number, subject, stored, b"{}", attributes)


def step(number: int, handler: str = "work", *, begun: float = 0.0, took: float = 1.0, **more: Any) -> Step:
    started = BEGIN + timedelta(seconds=begun)
    ends = {"finished": started + timedelta(seconds=took), "seconds": took}
    return Step.model_validate(
        {"run": "one", "handler": handler, "event_id": f"e{number}", "subject": "s", "status": "done",
         "started": started, **ends, **more}
    )  # fmt: skip


def test_waiting_work_failed_attempts_and_pauses_are_told_apart() -> None:
    tried = Try(attempt=1, started=BEGIN + timedelta(seconds=2), seconds=1, error="no")
    found = lineage("one", [event(1)], [step(1, begun=6, took=4, attempt=2, tries=(tried,))], [])
    totals = found.totals
    assert (totals.waited, totals.worked, totals.paused, totals.seconds, totals.retries) == (2, 5, 3, 10, 1)
    (line,) = [line for line in picture(found, 80) if "work" in line.plain and "attempt 2" in line.plain]
    bar = "".join(letter for letter in line.plain if letter in "░█┄")
    assert re.fullmatch("░+█+┄+█+", bar)
    assert not line.style  # the lines of the tree are dim, and nothing behind them


def test_thousands_of_siblings_become_one_line_but_for_the_first_the_slowest_and_the_failed() -> None:
    events = [
        event(1),
        *(event(n, "test.ask", after=1, causationid="e1", source="stenobus/work") for n in range(2, 3002)),
    ]
    steps = [step(1), *(step(n, "llm", begun=1, facts={"tokens": 10, "cost_usd": "0.01"}) for n in range(2, 3002))]
    steps[1500] = step(1501, "llm", begun=1, took=60)
    steps[2000] = step(2001, "llm", begun=1, status="failed", reason="permanent", message="no room")
    found = lineage("one", events, steps, [])
    fold(found.root, 12)
    shown = lines(found)
    assert len(shown) < 40
    assert "TEST/1501" in "\n".join(shown) and "permanent: no room" in "\n".join(shown)
    (rest,) = [line for line in shown if "more test.ask" in line]
    assert "… 2995 more test.ask" in rest and "2995 done" in rest and rest.endswith(" $29.95")
    assert (found.totals.events, found.totals.tokens) == (3001, 29_980)
    assert sum(1 for _ in found.root.all()) == 1 + 3001 + 3001 + 1  # nothing is lost, it is only folded


def test_a_chain_of_thousands_is_no_trouble_and_the_limit_counts_the_rest() -> None:
    events = [event(1), *(event(n, causationid=f"e{n - 1}", source="stenobus/work", after=n) for n in range(2, 4001))]
    found = lineage("one", events, [step(n, begun=n) for n in range(1, 4001)], [])
    fold(found.root, 12)
    shown = lines(found, 80, limit=50)
    assert max(map(len, shown)) <= 80
    assert len(shown) < 60
    assert "… and 7950 lines more" in "\n".join(shown)


def test_the_picture_fits_narrow_and_wide_terminals() -> None:
    long = event(1, "a.very.long.subject.of.some.plugin.that.somebody.wrote.for.something.special")
    for width in (60, 80, 118, 200):
        shown = lines(lineage("one", [long], [step(1, "a-handler-with-quite-a-long-name-as-well")], []), width)
        assert max(map(len, shown)) <= max(width, 75), width
        assert any("1.0s" in line for line in shown)


def test_strange_records_are_shown_all_the_same() -> None:
    letter = DeadLetter.model_validate(
        {"handler": "other", "reason": "crashed", "error": "E", "message": "gone", "attempts": 3, "event_id": "e9",
         "run": "one", "stream": "TEST", "sequence": 9, "original_subject": "test.ping", "failed_at": BEGIN,
         "headers": {}}
    )  # fmt: skip
    events = [event(1, causationid="e1", source="stenobus/work"), event(2, causationid="never-seen"), event(1, after=3)]
    steps = [step(7), step(1, facts={"cost_usd": "much", "tokens": None}), step(2, status="retrying")]
    found = lineage("one", events, steps, [Entry(5, letter)])
    text = "\n".join(lines(found))
    assert "dead letter 5: crashed" in text and "TEST/2" in text and text.count("TEST/1 ") == 1
    assert found.totals.cost is None and "cost unknown" in text
