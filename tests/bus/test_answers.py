"""Durable request and answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from stenobus_bus import BusError, Envelope, Received, RequestTimeout
from stenobus_bus.answers import answer, given, request, subject
from stenobus_bus.ledger import Ledger
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Answer, Ask, Failure, Ping
from .conftest import Bench


def asked(question: str = "how?", run: str = "run-1") -> Callable[[int], Envelope]:
    """The envelope of a question, as a handler derives it: the same after a crash."""
    cause = Envelope.new(Ping(number=1), "test", id=f"cause-{run}", run=run)
    return lambda number: cause.follow(Ask(question=question), "asker", "request", question, number)


async def test_a_request_is_answered(bench: Bench) -> None:
    async def handle(received: Received[Ask]) -> tuple[Answer]:
        return (Answer(text=received.event.question.upper()),)

    await bench.work(handle, Ask)
    answer = await request(bench.bus, Ask(question="how?"), asked(), timeout=60)
    assert answer == Answer(text="HOW?")
    (stored,) = await bench.stored(Answer)
    assert stored.run == "run-1"


async def test_whoever_asks_again_after_a_crash_finds_the_answer_without_a_second_request(bench: Bench) -> None:
    gate, handled = Gate(), []

    async def handle(received: Received[Ask]) -> tuple[Answer]:
        handled.append(received.event.question)
        await gate()
        return (Answer(text="so"),)

    worker = await bench.work(handle, Ask)
    first = asyncio.create_task(request(bench.bus, Ask(question="how?"), asked(), timeout=60))
    await eventually(lambda: gate.waiting == 1)
    first.cancel()
    resumed = asyncio.create_task(request(bench.bus, Ask(question="how?"), asked(), timeout=60))
    gate.open()
    assert await resumed == Answer(text="so")
    await worker.stop(grace=1)
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="so")
    assert handled == ["how?"]
    assert len(await bench.stored(Ask)) == 1


async def test_an_answer_outlives_the_one_who_gave_it_before_its_acknowledgement(bench: Bench) -> None:
    """The handler's process ends between answer and acknowledgement: the answer is given again, and stays the same."""
    handled: list[int] = []

    async def handle(received: Received[Ask]) -> tuple[Answer]:
        handled.append(received.delivery.count)
        return (Answer(text="so"),)

    worker = await bench.work(handle, Ask)
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="so")
    await eventually(lambda: worker.handled == 1)
    await bench.bus.api(f"CONSUMER.DELETE.TEST.{bench.name}")
    await eventually(bench_settled(bench))
    assert handled == [1]
    assert len(await bench.stored(Answer)) == 1


async def test_who_dies_between_its_answer_and_the_ledger_is_not_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may have cost money: it counts as soon as it is stored."""
    handled: list[int] = []

    async def handle(received: Received[Ask]) -> tuple[Answer, Ping]:
        handled.append(received.delivery.count)
        return Answer(text="so"), Ping(number=7)

    with monkeypatch.context() as dying:
        dying.setattr(Ledger, "complete", lambda self, key: asyncio.get_running_loop().create_future())
        worker = await bench.work(handle, Ask)
        await bench.bus.publish(Ask(question="how?"), asked()(0))
        await eventually(lambda: given(bench.bus, asked()(0), bench.name))
        assert len(await bench.stored(Ping)) == 1, "the answer says that everything else is there"
        await worker.stop(grace=0)
    await bench.work(handle, Ask)
    await eventually(bench_settled(bench))
    assert handled == [1]
    assert len(await bench.stored(Answer)) == 1


async def test_the_answer_of_another_handler_or_replay_is_not_the_handlers_own(bench: Bench) -> None:
    cause = asked()(0)
    assert not await given(bench.bus, cause, "acme")
    await answer(bench.bus, Answer(text="so"), cause.output(Answer(text="so"), "acme", 0), cause)
    assert await given(bench.bus, cause, "acme")
    assert not await given(bench.bus, cause, "other")
    assert not await given(bench.bus, dataclasses.replace(cause, replay="again"), "acme")


def bench_settled(bench: Bench) -> Callable[[], object]:
    async def settled() -> bool:
        try:
            return await bench.settled()
        except BusError:
            return False  # not made anew yet

    return settled


async def test_an_answer_that_somebody_removed_is_asked_for_anew(bench: Bench) -> None:
    """As `nats kv del` removes it: by a message that says so."""
    handled: list[str] = []

    async def handle(received: Received[Ask]) -> tuple[Answer]:
        handled.append(received.event.question)
        return (Answer(text="so"),)

    await bench.bus.store(subject(asked()(0)), b"", {"KV-Operation": "DEL"})
    await bench.work(handle, Ask)
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="so")
    assert handled == ["how?"]


async def test_an_error_is_an_answer_too_and_asking_later_asks_anew(bench: Bench) -> None:
    handled: list[int] = []

    async def handle(received: Received[Ask]) -> tuple[Answer]:
        handled.append(len(handled))
        if len(handled) == 1:
            return (Answer(error=Failure(message="overloaded", retryable=True)),)
        return (Answer(text="so"),)

    await bench.work(handle, Ask)
    first = await request(bench.bus, Ask(question="how?"), asked(), timeout=60)
    assert isinstance(first, Answer)
    assert first.error == Failure(message="overloaded", retryable=True)
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="so")
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="so")
    assert handled == [0, 1]


async def test_no_answer_in_time_says_what_to_look_at(bench: Bench) -> None:
    with pytest.raises(RequestTimeout, match=r"test\.ask: no answer within 0 s; is its plugin running\?"):
        await request(bench.bus, Ask(question="anyone?"), asked(), timeout=0.05)
    assert len(await bench.stored(Ask)) == 1


async def test_an_answer_that_came_while_nobody_listened_is_found_later(bench: Bench) -> None:
    with pytest.raises(RequestTimeout):
        await request(bench.bus, Ask(question="how?"), asked(), timeout=0.05)

    async def handle(_: Received[Ask]) -> tuple[Answer]:
        return (Answer(text="late"),)

    worker = await bench.work(handle, Ask)
    await eventually(lambda: worker.handled == 1)
    assert await request(bench.bus, Ask(question="how?"), asked(), timeout=60) == Answer(text="late")


async def test_an_event_that_nothing_answers_is_no_request(bench: Bench) -> None:
    with pytest.raises(BusError, match=r"Nothing answers test\.ping"):
        await request(bench.bus, Ping(number=1), asked(), timeout=1)


async def test_a_large_answer_comes_whole(bench: Bench) -> None:
    async def handle(_: Received[Ask]) -> tuple[Answer]:
        return (Answer(text="x" * 2_000_000),)

    await bench.work(handle, Ask)
    answer = await request(bench.bus, Ask(question="much?"), asked(), timeout=60)
    assert isinstance(answer, Answer)
    assert len(answer.text) == 2_000_000


async def test_many_askers_each_get_their_own_answer(bench: Bench) -> None:
    async def handle(received: Received[Ask]) -> tuple[Answer]:
        return (Answer(text=received.event.question),)

    await bench.work(handle, Ask, concurrency=4)
    questions = [f"question {number}" for number in range(30)]
    answers = await asyncio.gather(
        *(request(bench.bus, Ask(question=question), asked(question), timeout=60) for question in questions)
    )
    assert [answer.text for answer in answers if isinstance(answer, Answer)] == questions
