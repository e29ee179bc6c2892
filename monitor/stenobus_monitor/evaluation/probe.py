"""A plugin for the evaluation's containers: it works as its events say, and fails as it is told.

It is a real Stenobus plugin under a real ``stenobus up``; what it does wrong is real as well: it takes memory, ends its
process, blocks its loop. Faults come through a file, so that the bus knows nothing of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from stenobus_bus import RetryPolicy
from stenobus_contracts import BlobRef, Event, LlmRequest, Message
from stenobus_core import Context, PermanentError, Plugin, PluginSettings

#: Where a fault is written, and seconds between two looks.
TELL: Final = Path("/tmp/tell")  # noqa: S108 - of the container
_LOOK: Final = 0.05
#: What the task `need` needs.
NEEDED: Final = Path("/tmp/needed")  # noqa: S108 - of the container
_MIB: Final = 2**20


class EvalTask(Event, subject="eval.task"):
    """Something to do, and how it goes."""

    do: Literal["work", "crash", "crash_once", "hang", "eat", "refuse", "retry_once", "need", "swallow", "ask"] = "work"
    seconds: float = Field(default=0.0, ge=0, le=3600)
    mib: int = Field(default=0, ge=0, le=100_000)
    blob: BlobRef | None = None


class EvalDone(Event, subject="eval.done"):
    """It is done."""

    blob: BlobRef | None = None


class Settings(PluginSettings):
    """What the evaluation's containers are told at their start."""

    fail: str = Field(default="", description="say this on standard error and end with 1 at the start")


plugin = Plugin("probe", summary="Works and fails as the evaluation tells it", settings=Settings)
echo = Plugin("echo", summary="Hears what the probe has done")

_kept: list[bytearray] = []


@plugin.lifespan
async def told(settings: Settings) -> AsyncIterator[None]:
    """Wait for faults as long as the plugin runs."""
    if settings.fail:
        print(settings.fail, file=sys.stderr, flush=True)
        os._exit(1)
    watching = asyncio.create_task(_watch())
    try:
        yield None
    finally:
        watching.cancel()


async def _watch() -> None:
    while True:
        await asyncio.sleep(_LOOK)
        if (what := _told()) is not None:
            await _fail(**what)


def _told() -> dict[str, Any] | None:
    try:
        text = TELL.read_text()
    except FileNotFoundError:
        return None
    TELL.unlink()
    found: dict[str, Any] = json.loads(text)
    return found


async def _fail(what: str, amount: float = 0, seconds: float = 0, text: str = "") -> None:
    match what:
        case "exit":
            if text:
                print(text, file=sys.stderr, flush=True)
            os._exit(int(amount))
        case "eat":
            await _eat(int(amount), seconds)
        case "child":
            code = f"b = bytearray({int(amount)} * 2**20, ) ; b[::4096] = b'x' * len(b[::4096])"
            subprocess.Popen([sys.executable, "-c", code])
        case "block":
            time.sleep(seconds or 3600)  # noqa: ASYNC251 - that is the fault
        case "print":
            for line in text.splitlines():
                print(line, flush=True)
        case "fill":
            _fill(Path(text))
        case "deaf":
            for task in asyncio.all_tasks():
                if "PullLoop._ask" in str(task.get_coro()):
                    task.cancel()
        case _:
            raise ValueError(f"nobody knows how to {what}")


async def _eat(mib: int, seconds: float) -> None:
    """Take memory and use it, at once or over some seconds."""
    for _ in range(mib):
        piece = bytearray(_MIB)
        piece[::4096] = b"x" * len(piece[::4096])
        _kept.append(piece)
        if seconds:
            await asyncio.sleep(seconds / mib)


def _fill(folder: Path) -> None:
    try:
        with (folder / "filled").open("wb") as file:
            while True:
                file.write(bytes(_MIB))
    except OSError as error:
        for _ in range(5):
            print(f"ERROR cannot store the result: {error}", file=sys.stderr, flush=True)


@plugin.handler(
    name="probe", concurrency=2, timeout=120, requests=[LlmRequest], retry=RetryPolicy(attempts=5, base=0.5)
)
async def probe(event: EvalTask, ctx: Context[Settings, None]) -> EvalDone | None:
    """Do what the event says."""
    match event.do:
        case "crash":
            await asyncio.sleep(event.seconds)
            os._exit(139)
        case "crash_once" if _first(ctx.event_id):
            os._exit(139)
        case "retry_once" if _first(ctx.event_id):
            raise ConnectionError("the other side hung up")
        case "need" if not NEEDED.exists():
            raise ConnectionError("the other side is not there")
        case "hang":
            await asyncio.sleep(event.seconds or 3600)
        case "eat":
            await _eat(event.mib, 0)
        case "refuse":
            raise PermanentError("This file has no beginning.")
        case "ask":
            await ctx.request(_question(), timeout=100)
        case "swallow":
            return None
        case _:
            await asyncio.sleep(event.seconds)
    return EvalDone(blob=event.blob)


def _first(event_id: str) -> bool:
    """Whether this container sees the event for the first time; it remembers beyond its process."""
    once = Path(f"/tmp/once-{event_id}")  # noqa: S108 - of the container
    known = once.exists()
    once.touch()
    return not known


def _question() -> LlmRequest:
    return LlmRequest(task="eval.ask", messages=(Message(role="user", content="What time is it?"),), cache=False)


@echo.handler(name="echo", concurrency=2, timeout=60)
async def heard(event: EvalDone, ctx: Context[Any, None]) -> None:
    """Hear of it."""
