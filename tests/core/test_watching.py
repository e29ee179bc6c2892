"""A run as it goes on, and what `stenobus status --watch` shows of it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from stenobus_bus import PermanentError, RetryPolicy
from stenobus_core import Context, CoreSettings, Plugin
from stenobus_core import watching as module
from stenobus_core.cli.watch import Lines, render
from stenobus_core.runs import Step
from stenobus_core.services import Services
from stenobus_core.watching import Picture, picture, watch
from stenobus_testing.run_store_contract import RunStoreContract, seconds
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.command import Command
from ..support.contracts import Ping, Pong

step = RunStoreContract.step


def asked(number: int, cause: str, **more: Any) -> Step:
    """A question to a model."""
    fields = {"handler": "llm", "event_id": f"q{number}", "subject": "llm.request", "causation": cause}
    return step("talk", **{**fields, "started": seconds(number), **more})


STEPS = [
    step("talk", handler="documents-clean", event_id="e1", status="done", seconds=0.2, progress=1.0),
    step(
        "talk",
        handler="documents-extract",
        event_id="e2",
        started=seconds(1),
        progress=0.25,
        message="chunk 1 of 4; 110 tokens, $0.0010",
        facts={"unit": "chunk", "done": 1, "of": 4, "spent_tokens": 110, "spent_usd": "0.001"},
    ),
    asked(2, "e2", status="done", facts={"tokens": 110, "cost_usd": "0.001"}),
    asked(3, "e2", message="waiting for quota of cloud, 12 s"),
    asked(4, "e2", message="asking cloud"),
]


def test_a_picture_holds_stages_units_tokens_cost_and_what_is_waited_for() -> None:
    shown = picture("talk", STEPS)
    assert [stage.handler for stage in shown.stages] == ["documents-clean", "documents-extract"]
    extract = shown.stages[1]
    assert (extract.done, extract.of, extract.progress) == (1, 4, 0.25)
    assert extract.message == "waiting for quota of cloud, 12 s"
    assert (shown.status, shown.tokens, shown.cost_usd) == ("running", 110, Decimal("0.001"))
    assert shown.waiting == ("waiting for quota of cloud, 12 s",)
    answered = picture("talk", [*STEPS[:3], asked(3, "e2", status="done", facts={"tokens": 40, "cost_usd": "0.002"})])
    assert (answered.tokens, answered.cost_usd, answered.waiting) == (150, Decimal("0.003"), ())
    assert answered.stages[1].message.startswith("chunk 1 of 4")


def test_a_price_that_is_not_known_makes_the_cost_unknown() -> None:
    shown = picture("talk", [*STEPS, asked(5, "e2", status="done", facts={"tokens": 7, "cost_usd": None})])
    assert (shown.tokens, shown.cost_usd) == (117, None)


def text(shown: Picture) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(render(shown))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_terminal_shows_it_all() -> None:
    said = text(picture("talk", STEPS))
    for word in (
        "✓  documents-clean    ████████████████",
        "…  documents-extract  ████░░░░░░░░░░░░",
        "░  1 of 4",
        "200ms",
        "110 tokens, $0.0010",
        "waiting for quota",
    ):
        assert word in said
    assert "llm" not in said and len(said.splitlines()) == 5
    failed = step("talk", status="failed", attempt=3, message="[bold]no disk[/]")
    said = text(picture("talk", [failed], ended=True))
    assert "asr (attempt 3)" in said and "[bold]no disk[/]" in said and "talk: failed" in said


def test_plain_lines_say_only_what_is_new() -> None:
    lines = Lines()
    assert list(lines.of(picture("talk", STEPS[:1]))) == ["✓ documents-clean in 0.2 s"]
    assert list(lines.of(picture("talk", STEPS))) == [
        "… documents-extract: waiting for quota of cloud, 12 s",
        "  110 tokens, $0.0010 so far",
    ]
    assert list(lines.of(picture("talk", STEPS))) == []
    again = STEPS[0].model_copy(update={"replay": "r1", "status": "running", "seconds": None})
    assert list(lines.of(picture("talk", [*STEPS, again]))) == ["… documents-clean"]
    assert list(lines.of(picture("talk", STEPS, ended=True)))[-1] == "talk: running, 110 tokens, $0.0010"


# --- on the bus ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def services(stage: Stage, settings: CoreSettings) -> AsyncIterator[Services]:
    await stage.run()  # declares the buckets
    opened = await Services.open(settings, stage.bus)
    yield opened
    await opened.close()


async def test_it_follows_a_chain_of_handlers_and_ends_by_itself(stage: Stage, services: Services) -> None:
    first, second, gate, last = Plugin(unique("first")), Plugin(unique("second")), Gate(), Gate()

    @first.handler()
    async def begin(event: Ping, ctx: Context) -> Pong:
        await ctx.progress(0.5, "half of it")
        await gate()
        return Pong(number=event.number)

    @second.handler()
    async def end(event: Pong) -> None:
        await last()

    await stage.run(first, second)
    envelope = await stage.publish(Ping(number=1))
    await eventually(lambda: gate.waiting)
    await eventually(lambda: services.runs.steps(envelope.run))
    pictures: list[Picture] = []

    async def look() -> None:
        async for each in watch(services, envelope.run):
            pictures.append(each)

    looking = asyncio.create_task(look())
    await eventually(lambda: pictures)
    assert (pictures[0].status, pictures[0].ended, pictures[0].stages[0].message) == ("running", False, "half of it")
    gate.open()
    await eventually(lambda: last.waiting)
    await eventually(lambda: len(pictures[-1].stages) == 2)
    assert not looking.done()
    last.open()
    await asyncio.wait_for(looking, 60)
    assert [stage.handler for stage in pictures[-1].stages] == [first.name, second.name]
    assert (pictures[-1].status, pictures[-1].ended) == ("done", True)
    assert not any(each.ended for each in pictures[:-1])
    assert len(set(pictures)) == len(pictures)  # one per change


async def test_an_event_that_still_waits_for_a_handler_keeps_the_run_open(stage: Stage, services: Services) -> None:
    first, busy, gate = Plugin(unique("first")), Plugin(unique("busy")), Gate()

    @first.handler()
    async def begin(event: Ping) -> Pong:
        return Pong(number=event.number)

    @busy.handler(concurrency=1)
    async def end(event: Pong) -> None:
        await gate()

    await stage.run(first, busy)
    await stage.publish(Ping(number=1), run="other")
    await eventually(lambda: gate.waiting)
    envelope = await stage.publish(Ping(number=2))  # its pong waits behind the other's: no step says so

    async def begun() -> bool:
        return [step.status for step in await services.runs.steps(envelope.run)] == ["done"]

    await eventually(begun)
    assert not await module._over(services, envelope.run, await services.runs.steps(envelope.run))
    gate.open()
    pictures = [each async for each in watch(services, envelope.run)]
    assert {stage.handler for stage in pictures[-1].stages} == {first.name, busy.name}


async def test_a_failed_run_has_ended_too_and_nobody_waits_for_handlers_that_are_gone(
    stage: Stage, services: Services
) -> None:
    plugin, gone = Plugin(unique("fails")), Plugin(unique("gone"))

    @plugin.handler(retry=RetryPolicy(attempts=1))
    async def work(event: Ping) -> None:
        raise PermanentError("no disk")

    @gone.handler()
    async def never(event: Ping) -> None:
        pass

    await (await stage.run(gone)).stop()
    await stage.run(plugin)
    envelope = await stage.publish(Ping(number=1))
    await eventually(lambda: services.runs.steps(envelope.run))
    pictures = [each async for each in watch(services, envelope.run)]
    assert (pictures[-1].status, pictures[-1].ended) == ("failed", True)
    assert "no disk" in pictures[-1].stages[0].message


async def test_a_run_that_only_copies_know_is_looked_at_until_it_is_quiet(
    stage: Stage, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL", 0.01)
    monkeypatch.setattr(module, "_QUIET", 0.2)
    states = [step("far"), step("far", progress=0.5), step("far", status="done")]
    looks: list[int] = []

    class Copy:
        async def steps(self, run: str) -> list[Step]:
            looks.append(1)
            return [states[min(len(looks) // 3, 2)]]

        async def close(self) -> None:
            pass

    reading = replace(services, copies={"copy": Copy()})  # type: ignore[dict-item]
    pictures = [each async for each in watch(reading, "far")]
    assert [(each.status, each.stages[0].progress, each.ended) for each in pictures] == [
        ("running", 0.0, False),
        ("running", 0.5, False),
        ("done", 0.0, False),
        ("done", 0.0, True),
    ]


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_lines_or_documents_and_says_how_it_ended(stenobus: Command) -> None:
    from ..support.command import work

    stenobus("publish", "acme.ping", '{"number": 1}', "--run", "good")
    stenobus("publish", "acme.ping", '{"number": -1}', "--run", "bad")
    work(until=2)
    lines = stenobus("status", "--watch", "good").stdout.splitlines()
    assert lines[0].startswith("✓ acme in ") and lines[-1] == "good: done, 0 tokens, $0.0000"
    documents = [
        json.loads(line) for line in stenobus("status", "bad", "--watch", "--json", expect=1).stdout.splitlines()
    ]
    assert [document["ended"] for document in documents] == [False, True]
    assert documents[-1]["status"] == "failed"
    assert documents[-1]["stages"][0]["message"] == "there is no negative ping"
    assert "bad: failed" in stenobus("status", "--watch", expect=1).stdout  # the latest
    assert "There is no run nowhere" in stenobus.fails("status", "--watch", "nowhere")
