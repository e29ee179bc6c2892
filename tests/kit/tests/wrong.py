"""Plugins that break one rule each. The module's text is copied to where the kit is run on it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

from pydantic import ConfigDict, Field, model_validator

from stenobus_contracts import Event
from stenobus_core import Check, Context, PermanentError, Plugin, PluginSettings


class Ping(Event, subject="wrong.ping"):
    """Something to handle."""

    number: int


class Pong(Event, subject="wrong.pong"):
    """What became of it."""

    number: int


class Surprise(Event, subject="wrong.surprise"):
    """What nobody was told of."""


class Strict(Event, subject="wrong.strict"):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")

    number: int


class Lenient(Event, subject="wrong.lenient"):
    """Makes something out of everything."""

    number: int

    @model_validator(mode="before")
    @classmethod
    def repaired(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"number": 0}


class Renamed(Event, subject="wrong.renamed"):
    """Its field was once called number."""

    count: int


good = Plugin("good")


@good.handler()
async def answer(event: Ping, ctx: Context) -> Pong:
    await ctx.store(b"pong", "text/plain")
    return Pong(number=event.number)


class Undescribed(PluginSettings):
    volume: int = 3


settings = Plugin("wrong-settings", settings=Undescribed)


@settings.handler()
async def undescribed(event: Ping) -> Pong:
    return Pong(number=event.number)


doctor = Plugin("wrong-doctor")


@doctor.doctor
def ill(_: PluginSettings) -> list[Check]:
    raise KeyError("nobody")


@doctor.handler()
async def undoctored(event: Ping) -> Pong:
    return Pong(number=event.number)


schema = Plugin("wrong-schema")


@schema.handler()
async def renamed(event: Renamed) -> Pong:
    return Pong(number=event.count)


example = Plugin("wrong-example")


@example.handler()
async def picky(event: Ping) -> Pong:
    if event.number < 1_000:
        raise PermanentError("I want large numbers.")
    return Pong(number=event.number)


declared = Plugin("wrong-declared")


@declared.handler()
async def surprising(event: Ping) -> Pong:
    return Surprise()  # type: ignore[return-value]


duplicates = Plugin("wrong-duplicates")


@duplicates.handler(ledger=False)
async def forgetful(event: Ping) -> Pong:
    return Pong(number=event.number)


unknown_fields = Plugin("wrong-unknown-fields")


@unknown_fields.handler()
async def strict(event: Strict) -> Pong:
    return Pong(number=event.number)


poison = Plugin("wrong-poison")


@poison.handler()
async def lenient(event: Lenient) -> Pong:
    return Pong(number=event.number)


slow = Plugin("wrong-slow")


@slow.handler()
async def deaf(event: Ping) -> Pong:
    for _ in range(20):
        try:
            await asyncio.sleep(0.005)
        except BaseException:
            continue
    return Pong(number=event.number)


redelivery = Plugin("wrong-redelivery")


@redelivery.lifespan
async def locks(_: PluginSettings) -> AsyncIterator[dict[str, IO[str]]]:
    held: dict[str, IO[str]] = {}
    yield held
    for file in held.values():
        file.close()


@redelivery.handler()
async def locking(event: Ping, ctx: Context[PluginSettings, dict[str, IO[str]]]) -> Pong:
    if ctx.event_id not in ctx.state:
        file = (Path(os.environ["STENOBUS_CONFIG"]).parent / ctx.event_id).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermanentError("Another process works on it.") from None
        ctx.state[ctx.event_id] = file
    return Pong(number=event.number)


crash = Plugin("wrong-crash")


@crash.handler()
async def marking(event: Ping, ctx: Context) -> Pong | None:
    mark = Path(os.environ["STENOBUS_CONFIG"]).parent / f"{ctx.event_id}-{ctx.replay}"
    if mark.exists():
        return None
    mark.touch()
    try:
        await asyncio.sleep(0)
    except BaseException:
        mark.unlink()
        raise
    return Pong(number=event.number)


drain = Plugin("wrong-drain")


@drain.lifespan
async def lingering(_: PluginSettings) -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0.8)


@drain.handler()
async def unhurried(event: Ping) -> Pong:
    return Pong(number=event.number)


replay = Plugin("wrong-replay")


@replay.handler()
async def once_only(event: Ping, ctx: Context) -> Pong | None:
    return None if ctx.replay else Pong(number=event.number)


blocking = Plugin("wrong-blocking")


@blocking.handler()
async def stubborn(event: Ping) -> Pong:
    time.sleep(0.3)
    return Pong(number=event.number)


class Described(PluginSettings):
    """What a good plugin has."""

    volume: int = Field(default=3, description="how loud, from 0 to 11")
