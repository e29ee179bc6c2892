"""What a handler does not declare, the host refuses: on any server, before anything leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stenobus_core import Context, Plugin
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually

from ..support.contracts import Ask, Ping, Pong


async def returned(ctx: Context[Any, Any]) -> Any:
    return Pong(number=1)


async def published(ctx: Context[Any, Any]) -> Any:
    await ctx.publish(Pong(number=1))


async def requested(ctx: Context[Any, Any]) -> Any:
    await ctx.request(Ask(question="?"), timeout=1)


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (returned, "returns Pong (test.pong) without saying so; add Pong to its return annotation."),
        (published, "publishes Pong (test.pong) without saying so; add Pong to its publishes=[…] of @plugin.handler."),
        (requested, "asks Ask (test.ask) without saying so; add Ask to its requests=[…] of @plugin.handler."),
    ],
)
async def test_what_is_not_declared_is_one_dead_letter_that_says_where_to_declare_it(
    stage: Stage, behave: Callable[[Context[Any, Any]], Awaitable[Any]], why: str
) -> None:
    plugin = Plugin(unique())

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        return await behave(ctx)  # type: ignore[no-any-return]

    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    (entry,) = await eventually(lambda: stage.letters(plugin.name))
    assert (entry.letter.reason, entry.letter.attempts) == ("permanent", 1)
    assert entry.letter.message == f"{plugin.name} {why}"
    assert await stage.stored(Pong) == await stage.stored(Ask) == []


async def test_what_is_declared_may_be_published_and_belongs_to_the_outputs(stage: Stage) -> None:
    plugin = Plugin(unique())

    @plugin.handler(publishes=[Pong], requests=[Ask])
    async def work(event: Ping, ctx: Context[Any, Any]) -> Ask:
        await ctx.publish(Pong(number=1))
        return Ask(question="?")

    (handler,) = plugin.handlers
    assert (handler.outputs, handler.requests) == ((Ask, Pong), (Ask,))
    await stage.run(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: stage.stored(Ask))
    assert len(await stage.stored(Pong)) == 1
