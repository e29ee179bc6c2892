"""What another version makes of the same events, beside what the first one made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stenobus_bus import history
from stenobus_core import Context, Plugin
from stenobus_core.blobs import Blobs
from stenobus_core.compare import Pair, compare
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually

from ..support.contracts import Answer, Ask, Ping, Pong

Behaviour = Callable[[Ping, Context[Any, Any]], Awaitable[Any]]
SHADOW = "trial"


def version(behave: Behaviour) -> Plugin:
    plugin = Plugin(unique("version"))

    @plugin.handler(requests=[Ask])
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong | list[Pong] | None:
        return await behave(event, ctx)  # type: ignore[no-any-return]

    return plugin


async def paired(
    stage: Stage, one: Behaviour, two: Behaviour, *pings: Ping, ignore: tuple[str, ...] = ()
) -> list[Pair]:
    """Let one version handle events, hand them to the other one in a shadow, and compare."""
    first, second = version(one), version(two)
    await stage.run(first)
    for ping in pings:
        await stage.publish(ping, run="one", id=f"ping-{ping.number}")
    await eventually(lambda: stage.settled(first.name))
    await stage.publish(Ping(number=1000), run="other")
    originals = [message for message in await stage.stored(Ping) if message.run == "one"]
    # the second version is in the shadow as a whole, so that the events themselves do no harm
    host = await stage.run(second, shadow="live")
    await eventually(lambda: stage.settled(second.name))
    await history.replay(stage.bus, second.name, originals, instead_of=first.name, shadow=SHADOW)
    await eventually(lambda: stage.settled(second.name))
    await eventually(lambda: not host.workers[second.name].active)
    return await compared(stage, ignore=ignore)


async def compared(stage: Stage, **more: Any) -> list[Pair]:
    blobs = Blobs(stage.settings, stage.bus)
    try:
        return await compare(stage.bus, blobs, "one", SHADOW, **more)
    finally:
        await blobs.close()


async def pong(event: Ping, ctx: Context[Any, Any]) -> Pong:
    return Pong(number=event.number, text=event.text)


async def test_equal_outputs_are_equal(stage: Stage) -> None:
    pairs = await paired(stage, pong, pong, Ping(number=1), Ping(number=2, text="x" * 2_000_000))
    assert [(pair.causation, pair.contract, pair.ordinal, pair.status) for pair in pairs] == [
        ("ping-1", "test.pong", 0, "equal"),
        ("ping-2", "test.pong", 0, "equal"),
    ]


async def test_what_differs_is_named(stage: Stage) -> None:
    async def louder(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=event.number, text=event.text.upper())

    one, two = await paired(stage, pong, louder, Ping(number=1, text="a"), Ping(number=2, text="B"))
    assert [(place.path, place.original, place.shadow) for place in one.differences] == [("text", "a", "A")]
    assert (one.status, two.status) == ("different", "equal")
    assert [pair.status for pair in await compared(stage, ignore=["text"])] == ["equal", "equal"]


async def test_missing_and_added_outputs_pair_by_ordinal(stage: Stage) -> None:
    async def two(event: Ping, ctx: Context[Any, Any]) -> list[Pong]:
        await ctx.publish(Pong(number=0))
        return [Pong(number=1), Pong(number=2)]

    async def fewer(event: Ping, ctx: Context[Any, Any]) -> list[Pong]:
        return [Pong(number=n) for n in range(2 if event.number == 1 else 4)]

    pairs = await paired(stage, two, fewer, Ping(number=1), Ping(number=2))
    assert [(pair.causation, pair.ordinal, pair.status) for pair in pairs] == [
        ("ping-1", 0, "equal"),
        ("ping-1", 1, "equal"),
        ("ping-1", 2, "missing"),
        ("ping-2", 0, "equal"),
        ("ping-2", 1, "equal"),
        ("ping-2", 2, "equal"),
        ("ping-2", 3, "added"),
    ]


async def test_texts_behind_references_are_compared_line_by_line_and_binaries_by_hash(stage: Stage) -> None:
    def storing(name: bytes) -> Behaviour:
        async def behave(event: Ping, ctx: Context[Any, Any]) -> Pong:
            text = await ctx.store(b"# Same\n" + name + b"\n", "text/markdown")
            data = await ctx.store(b"\x00\xff" + name, "application/octet-stream")
            facts = await ctx.store(b'{"a": 1, "b": "' + name + b'"}', "application/json")
            refs = {"text_ref": text, "data_ref": data, "facts_ref": facts}
            return Pong.model_validate({"number": 1, **{key: ref.model_dump() for key, ref in refs.items()}})

        return behave

    (pair,) = await paired(stage, storing(b"one"), storing(b"two"), Ping(number=1))
    found = {place.path: place.text for place in pair.differences}
    assert (found["text_ref"] or "").splitlines()[3:] == [" # Same", "-one", "+two"]
    assert (found["facts_ref"] or "").splitlines()[-3:] == ['- "b": "one"', '+ "b": "two"', " }"]
    assert found["data_ref"] is None


async def test_questions_and_the_work_of_others_do_not_count(stage: Stage) -> None:
    async def asking(event: Ping, ctx: Context[Any, Any]) -> Pong:
        answer = await ctx.request(Ask(question=f"{event.number}?"), timeout=60)
        return Pong(number=event.number, text=answer.text)

    oracle, bystander = Plugin(unique("oracle")), Plugin(unique("bystander"))

    @oracle.handler()
    async def answer(event: Ask) -> Answer:
        return Answer(text=event.question)

    @bystander.handler()
    async def disturb(event: Ping) -> Pong:
        return Pong(number=-1)

    await stage.run(oracle, bystander)
    (pair,) = await paired(stage, asking, asking, Ping(number=1))
    assert (pair.contract, pair.status) == ("test.pong", "equal")


async def test_a_second_trial_under_the_same_name_takes_the_place_of_the_first(stage: Stage) -> None:
    answers = ["wrong", "right"]

    async def learning(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=event.number, text=answers.pop(0) if ctx.shadow == SHADOW else "")

    async def right(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=event.number, text="right")

    async def nothing(event: Ping, ctx: Context[Any, Any]) -> None:
        return None

    (pair,) = await paired(stage, right, learning, Ping(number=1))
    assert pair.status == "different"
    second = stage.hosts[-1].plugins[0].name
    silent = version(nothing)
    await stage.run(silent)
    originals = [message for message in await stage.stored(Ping) if message.event_id == "ping-1"][:1]
    await history.replay(stage.bus, second, originals, instead_of=stage.hosts[0].plugins[0].name, shadow=SHADOW)
    await eventually(lambda: not answers)
    await eventually(lambda: stage.settled(second))
    (pair,) = await compared(stage)
    assert pair.status == "equal"
    await history.replay(stage.bus, silent.name, originals, instead_of=stage.hosts[0].plugins[0].name, shadow=SHADOW)
    await eventually(lambda: stage.settled(silent.name))
    (pair,) = await compared(stage)
    assert pair.status == "missing"


async def test_a_version_that_makes_nothing_misses_all(stage: Stage) -> None:
    async def nothing(event: Ping, ctx: Context[Any, Any]) -> None:
        return None

    (pair,) = await paired(stage, pong, nothing, Ping(number=1))
    assert pair.status == "missing"


async def test_live_events_of_a_process_in_the_shadow_compare_too(stage: Stage) -> None:
    first, second = version(pong), version(pong)
    await stage.run(first)
    await stage.run(second, shadow=SHADOW)
    await stage.publish(Ping(number=1), run="one", id="ping-1")
    await eventually(lambda: stage.settled(first.name))
    await eventually(lambda: stage.settled(second.name))
    (pair,) = await compared(stage)
    assert pair.status == "equal"
    (pair,) = await compared(stage, handler="nobody")
    assert pair.status == "added"


async def test_bodies_that_are_gone_are_not_taken_for_equal(stage: Stage) -> None:
    async def louder(event: Ping, ctx: Context[Any, Any]) -> Pong:
        return Pong(number=event.number, text=event.text + "!")

    await paired(stage, pong, louder, Ping(number=1, text="x" * 2_000_000))
    await stage.bus.api("STREAM.PURGE.OBJ_stenobus")
    (pair,) = await compared(stage)
    assert pair.status == "different"


async def test_runs_and_shadows_that_are_not_there_have_no_pairs(stage: Stage) -> None:
    await stage.run(version(pong))
    assert await compared(stage) == []
    await stage.publish(Ping(number=1), run="one")
    assert await compared(stage) == []
