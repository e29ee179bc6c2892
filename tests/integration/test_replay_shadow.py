"""A shadow: a handler works, and nothing behind it hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.js.errors import KeyNotFoundError

from stenobus_bus import Bus, Envelope, shadow
from stenobus_bus.envelope import ONLY, REPLAY, SHADOW
from stenobus_core import Context, Plugin
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually

from ..support.contracts import Answer, Ask, Ping, Pong

NAME = "trial"


class Chain:
    """A handler that returns one pong and publishes another, one behind it, and one that answers questions."""

    def __init__(self) -> None:
        self.handler = unique("first")
        self.behind: list[int] = []
        self.shadows: list[str | None] = []
        self.answers: list[str] = []
        self.answered = 0

    def plugins(self) -> list[Plugin]:
        first, behind, oracle = Plugin(self.handler), Plugin(unique("behind")), Plugin(unique("oracle"))

        @first.handler(publishes=[Pong], requests=[Ask])
        async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
            self.shadows.append(ctx.shadow)
            self.answers.append((await ctx.request(Ask(question=f"{event.number}?"), timeout=60)).text)
            await ctx.publish(Pong(number=event.number + 100))
            return Pong(number=event.number)

        @behind.handler()
        async def listen(event: Pong) -> None:
            self.behind.append(event.number)

        @oracle.handler()
        async def answer(event: Ask) -> Answer:
            self.answered += 1
            return Answer(text=f"{self.answered}. {event.question}")

        return [first, behind, oracle]


async def held(bus: Bus, name: str = NAME) -> list[tuple[str, Any]]:
    return sorted([(message.subject, message.data) async for message in shadow.outputs(bus, name)])


async def test_outputs_of_a_shadowed_event_go_to_the_shadow_and_nowhere_else(stage: Stage) -> None:
    chain = Chain()
    await stage.run(*chain.plugins())
    ping = Ping(number=1)
    await stage.bus.publish(ping, Envelope.new(ping, "test"), headers={SHADOW: NAME})
    found = await eventually(lambda: _several(stage.bus, 3))
    assert [subject for subject, _ in found] == ["test.answer", "test.pong", "test.pong"]
    assert [Pong.model_validate_json(data).number for _, data in found[1:]] == [1, 101]
    assert (chain.shadows, chain.answers) == ([NAME], ["1. 1?"])  # a question under a shadow is answered
    assert await stage.stored(Pong) == []
    await stage.publish(Ping(number=2))  # without the mark, all is as ever
    await eventually(lambda: sorted(chain.behind) == [2, 102])
    assert len(await held(stage.bus)) == 3


async def _several(bus: Bus, count: int) -> list[tuple[str, Any]]:
    found = await held(bus)
    return found if len(found) == count else []


async def test_a_name_that_is_no_word_cannot_break_out_of_the_shadow(stage: Stage) -> None:
    chain = Chain()
    await stage.run(*chain.plugins())
    ping = Ping(number=1)
    await stage.bus.publish(ping, Envelope.new(ping, "test"), headers={SHADOW: "a.>"})
    await eventually(lambda: len(chain.answers) == 1)
    subjects = await eventually(lambda: _subjects(stage.bus))
    assert all(len(subject.split(".")) == 4 for subject in subjects)


async def _subjects(bus: Bus) -> list[str]:
    state = (await bus.api("STREAM.INFO.SHADOW", {"subjects_filter": "shadow.>"}))["state"]
    return list(state["subjects"]) if state["messages"] == 3 else []


async def test_a_process_in_the_shadow_diverts_everything(stage: Stage) -> None:
    chain = Chain()
    first, *others = chain.plugins()
    await stage.run(*others)
    await stage.run(first, shadow=NAME)
    await stage.publish(Ping(number=1))
    await eventually(lambda: _several(stage.bus, 3))
    assert (chain.behind, chain.shadows) == ([], [NAME])


async def test_a_process_in_the_shadow_speaks_for_nobody_and_yields_to_an_events_own_shadow(stage: Stage) -> None:
    plugin = Plugin(unique())

    @plugin.facts
    def facts(settings: Any) -> dict[str, Any]:
        return {"model": plugin.name}

    @plugin.handler()
    async def work(event: Ping) -> Pong:
        return Pong(number=event.number)

    await stage.run(plugin, shadow="process")
    said = await stage.bus.bucket("stenobus_facts")
    with pytest.raises(KeyNotFoundError):
        await said.get(Ping.subject)
    for number, headers in ((1, {}), (2, {SHADOW: NAME})):
        ping = Ping(number=number)
        await stage.bus.publish(ping, Envelope.new(ping, "test"), headers=headers)
    await stage.run_until_idle()
    numbers = {
        name: [Pong.model_validate_json(data).number for _, data in await held(stage.bus, name)]
        for name in (NAME, "process")
    }
    assert numbers == {NAME: [2], "process": [1]}


async def test_an_answer_that_is_only_tried_out_replaces_none(stage: Stage) -> None:
    chain = Chain()
    first, behind, oracle = chain.plugins()
    await stage.run(first, behind, oracle)
    await stage.publish(Ping(number=1))
    await eventually(lambda: len(chain.behind) == 2)
    (question,) = await stage.stored(Ask)
    key = f"$KV.stenobus_answers.{first.name}.{question.event_id}"
    before = await stage.bus.api("STREAM.MSG.GET.KV_stenobus_answers", {"last_by_subj": key})
    marks = {ONLY: oracle.name, REPLAY: "again", SHADOW: NAME, "Nats-Msg-Id": "again"}
    await stage.bus.store("test.ask", question.data, {**question.headers, **marks})
    ((subject, data),) = await eventually(lambda: _several(stage.bus, 1))
    assert (subject, Answer.model_validate_json(data).text) == ("test.answer", "2. 1?")
    assert await stage.bus.api("STREAM.MSG.GET.KV_stenobus_answers", {"last_by_subj": key}) == before


async def test_the_shadow_drops_its_oldest_and_keeps_nobody_waiting(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.SHADOW"))["config"]
    assert (config["discard"], config["max_age"]) == ("old", 7 * 86_400 * 10**9)
    await bus.api("STREAM.UPDATE.SHADOW", {**config, "max_msgs": 2})
    await asyncio.gather(*(bus.store(f"shadow.a.test.{n}", b"", {}) for n in range(5)))
    assert (await bus.api("STREAM.INFO.SHADOW"))["state"]["messages"] == 2
