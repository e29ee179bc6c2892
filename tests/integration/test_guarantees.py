"""What a handler can rely on, however it is called: directly, or through FastStream's chain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

import pytest
from faststream import BaseMiddleware, Depends
from faststream.exceptions import AckMessage, NackMessage, RejectMessage

from stenobus_bus import PermanentError, RetryPolicy
from stenobus_core import Context, Plugin
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Answer, Ask, Failure, Ping, Pong

Behaviour = Callable[[Ping, Context[Any, Any]], Awaitable[Any]]


def plain(behave: Behaviour, **options: Any) -> Plugin:
    """Called directly."""
    plugin = Plugin(unique())

    @plugin.handler(requests=[Ask], **options)
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong | list[Pong] | None:
        return await behave(event, ctx)  # type: ignore[no-any-return]

    assert plugin.handlers[0].plain
    return plugin


passed: list[str] = []


class Passing(BaseMiddleware):
    """A middleware that leaves a trace."""

    async def consume_scope(self, call_next: Any, msg: Any) -> Any:
        passed.append(msg.raw_message.subject)
        return await call_next(msg)


async def twice(event: Ping) -> int:
    return 2 * event.number


def faststream(behave: Behaviour, **options: Any) -> Plugin:
    """Called through FastStream's parser, middlewares and dependencies."""
    plugin = Plugin(unique(), middlewares=[Passing])

    @plugin.handler(requests=[Ask], **options)
    async def work(
        event: Ping, doubled: Annotated[int, Depends(twice)], ctx: Context[Any, Any]
    ) -> Pong | list[Pong] | None:
        assert doubled == 2 * event.number
        return await behave(event, ctx)  # type: ignore[no-any-return]

    assert not plugin.handlers[0].plain
    return plugin


@pytest.fixture(params=[plain, faststream], ids=["plain", "faststream"])
def make(request: pytest.FixtureRequest) -> Callable[..., Plugin]:
    passed.clear()
    made: Callable[..., Plugin] = request.param
    return made


Make = Callable[..., Plugin]
QUICK = RetryPolicy(attempts=3, base=0.01)


async def test_an_event_comes_in_and_the_result_goes_out_in_its_run(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        assert (ctx.run, ctx.event_id, ctx.attempt, ctx.replay) == ("run-1", "id-1", 1, None)
        return Pong(number=event.number, text=event.text)

    plugin = make(behave)
    await stage.run(plugin)
    await stage.publish(Ping(number=1, text="ü"), run="run-1", id="id-1")
    (pong,) = await eventually(lambda: stage.stored(Pong))
    assert json.loads(pong.data) == {"number": 1, "text": "ü"}
    assert (pong.run, pong.attributes["causationid"]) == ("run-1", "id-1")
    assert pong.attributes["source"] == f"stenobus/{plugin.name}"
    await eventually(lambda: stage.settled(plugin.name))
    assert passed == ([] if plugin.handlers[0].plain else ["test.ping"])


async def test_nothing_returned_is_nothing_published(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> None:
        return None

    plugin = make(behave)
    host = await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: host.workers[plugin.name].handled == 1)
    assert await stage.stored(Pong) == []


async def test_several_results_are_several_events(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> Any:
        await ctx.publish(Pong(number=3))
        return [Pong(number=1), Pong(number=2)]

    plugin = make(behave)
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: stage.settled(plugin.name))
    pongs = await stage.stored(Pong)
    assert [json.loads(pong.data)["number"] for pong in pongs] == [3, 1, 2]
    assert len({pong.event_id for pong in pongs}) == 3


async def test_what_is_no_event_is_no_result(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> Any:
        return ["pong"]

    plugin = make(behave, attempts=1)
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert letter.reason == "exhausted"
    assert "no contract" in letter.message or "instance of Pong" in letter.message
    assert await stage.stored(Pong) == []


async def test_a_failure_is_tried_again_and_publishes_once(stage: Stage, make: Make) -> None:
    attempts: list[int] = []

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        attempts.append(ctx.attempt)
        await ctx.publish(Pong(number=2))
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return Pong(number=1)

    plugin = make(behave, retry=QUICK)
    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    await eventually(lambda: stage.settled(plugin.name))
    await eventually(lambda: len(attempts) == 3)
    await eventually(lambda: _count(stage, 2))
    (step,) = await eventually(lambda: stage.steps("run-1"))
    assert attempts == [1, 2, 3]
    assert (step.status, step.attempt) == ("done", 3)


async def _count(stage: Stage, pongs: int) -> bool:
    return len(await stage.stored(Pong)) == pongs


async def test_exhausted_attempts_end_as_a_dead_letter_and_a_failed_step(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        ctx.note(engine="acme")
        raise OSError("the disk is full")

    plugin = make(behave, retry=QUICK)
    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert (letter.reason, letter.attempts, letter.error, letter.message) == (
        "exhausted", 3, "OSError", "the disk is full",
    )  # fmt: skip
    await eventually(lambda: stage.settled(plugin.name))
    (step,) = await stage.steps("run-1")
    assert (step.status, step.attempt, step.reason, step.message) == ("failed", 3, "exhausted", "the disk is full")
    assert step.facts == {"engine": "acme"}


async def test_a_permanent_error_is_not_tried_again(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        raise PermanentError("never")

    plugin = make(behave)
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert (letter.reason, letter.attempts, letter.message) == ("permanent", 1, "never")


async def test_what_breaks_the_contract_never_reaches_the_handler(stage: Stage, make: Make) -> None:
    called: list[Ping] = []

    async def behave(event: Ping, ctx: Context[Any, Any]) -> None:
        called.append(event)

    plugin = make(behave)
    await stage.run(plugin)
    await stage.bus.store("test.ping", b'{"number": "x"}', {})
    await stage.publish(Ping(number=1))
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert letter.reason == "invalid"
    await eventually(lambda: called)
    assert called == [Ping(number=1)]
    assert passed.count("test.ping") == (0 if plugin.handlers[0].plain else 1)


async def test_too_long_is_tried_again_and_ends_as_exhausted(stage: Stage, make: Make) -> None:
    async def behave(event: Ping, ctx: Context[Any, Any]) -> None:
        await asyncio.Event().wait()

    plugin = make(behave, timeout=0.05, retry=QUICK)
    await stage.run(plugin)
    await stage.publish(Ping(number=1), run="run-1")
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert (letter.reason, letter.attempts) == ("exhausted", 3)
    assert letter.message == "the handler took longer than its 0.05 s"
    (step,) = await stage.steps("run-1")
    assert step.status == "failed"


@pytest.mark.parametrize("error", [NackMessage, RejectMessage, AckMessage, asyncio.CancelledError, SystemExit])
async def test_no_exception_makes_an_event_disappear(stage: Stage, make: Make, error: type[BaseException]) -> None:
    """Not even those by which FastStream's own consumers settle, or end."""
    attempts: list[int] = []

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise error()
        return Pong(number=1)

    plugin = make(behave, retry=QUICK)
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: _count(stage, 1))
    assert attempts == [1, 2]


async def test_events_that_are_handled_at_once_do_not_mix(stage: Stage, make: Make) -> None:
    gate, seen = Gate(), []

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        before = ctx.event_id
        await gate()
        seen.append((event.number, before, ctx.event_id))
        return Pong(number=event.number)

    plugin = make(behave, concurrency=5)
    await stage.run(plugin)
    for number in range(5):
        await stage.publish(Ping(number=number), id=f"id-{number}")
    await eventually(lambda: gate.waiting == 5)
    gate.open()
    await eventually(lambda: _count(stage, 5))
    assert sorted(seen) == [(number, f"id-{number}", f"id-{number}") for number in range(5)]
    for pong in await stage.stored(Pong):
        assert pong.attributes["causationid"] == f"id-{json.loads(pong.data)['number']}"


async def test_every_form_of_an_event_arrives(stage: Stage, make: Make) -> None:
    seen: dict[int, int] = {}

    async def behave(event: Ping, ctx: Context[Any, Any]) -> None:
        assert (event.model_extra or {}).get("more") in {None, "kept"}
        seen[event.number] = len(event.text)

    plugin = make(behave)
    await stage.run(plugin)
    await stage.bus.store("test.ping", b'{"number": 1, "more": "kept"}', {})
    await stage.bus.store("test.ping", b'{"number": 2, "text": "x"}', {"content-type": "text/plain"})
    structured = {"specversion": "1.0", "id": "3", "source": "x", "type": "x", "data": {"number": 3, "text": "xx"}}
    content_type = {"content-type": "application/cloudevents+json"}
    await stage.bus.store("test.ping", json.dumps(structured).encode(), content_type)
    await stage.publish(Ping(number=4, text="x" * 500_000))
    await eventually(lambda: len(seen) == 4)
    assert seen == {1: 0, 2: 1, 3: 2, 4: 500_000}
    assert await stage.letters() == []


async def test_a_producer_cannot_choose_where_results_go(stage: Stage, make: Make) -> None:
    leaked: list[Any] = []

    async def listen(msg: Any) -> None:
        leaked.append(msg)

    await stage.bus.nc.subscribe("leak.>", cb=listen)

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=1)

    plugin = make(behave)
    await stage.run(plugin)
    await stage.bus.store("test.ping", b'{"number": 1}', {"reply_to": "leak.here", "reply-to": "leak.here"})
    await eventually(lambda: _count(stage, 1))
    await stage.bus.nc.flush()
    assert leaked == []


async def test_a_duplicate_beyond_the_servers_window_is_skipped(stage: Stage, make: Make) -> None:
    numbers: list[int] = []

    async def behave(event: Ping, ctx: Context[Any, Any]) -> None:
        numbers.append(event.number)

    plugin = make(behave, concurrency=1)
    host = await stage.run(plugin)
    for number, transport in ((1, "a"), (2, "b"), (3, "c")):
        event_id = "same" if number < 3 else "other"
        await stage.bus.store(
            "test.ping", Ping(number=number).body(), {"ce-id": event_id, "ce-source": "x", "Nats-Msg-Id": transport}
        )
    await eventually(lambda: host.workers[plugin.name].handled == 2)
    assert numbers == [1, 3]


async def test_what_a_stop_interrupts_is_handed_on_at_once(stage: Stage, make: Make) -> None:
    gate, attempts = Gate(), []

    async def endless(event: Ping, ctx: Context[Any, Any]) -> None:
        await gate()

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        attempts.append(ctx.attempt)
        return Pong(number=1)

    first, second = make(endless), make(behave)
    second.name = first.name
    second.handlers[0] = replace(second.handlers[0], name=first.name)
    host = await stage.run(first, ack_wait=300.0)
    await stage.publish(Ping(number=1))
    await eventually(lambda: gate.waiting == 1)
    await host.stop(grace=0)
    await stage.run(second, ack_wait=300.0)
    await eventually(lambda: _count(stage, 1))
    assert attempts == [1]


async def test_a_question_is_answered(stage: Stage, make: Make) -> None:
    answering, tries = Plugin(unique("answering")), []

    @answering.handler(retry=QUICK)
    async def answer(event: Ask) -> Answer:
        tries.append(event.question)
        if len(tries) == 1:
            return Answer(error=Failure(message="busy"))
        return Answer(text=event.question[::-1])

    async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
        answer = await ctx.request(Ask(question="abc"), timeout=5)
        if answer.error:
            raise ValueError(answer.error.message)
        return Pong(number=1, text=answer.text)

    plugin = make(behave, retry=QUICK)
    await stage.run(plugin, answering)
    await stage.publish(Ping(number=1), run="run-1")
    (pong,) = await eventually(lambda: stage.stored(Pong))
    assert json.loads(pong.data)["text"] == "cba"
    assert tries == ["abc", "abc"]  # the error of the first attempt is no answer for the second
    assert {message.run for message in await stage.stored(Ask)} == {"run-1"}
