"""A run as it goes on: what each stage is at, what it took so far, what it waits for, and whether it is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from stenobus_bus.history import read
from stenobus_bus.topology import handler_of
from stenobus_contracts import LlmRequest

from .board import is_bucket
from .lag import gather, lags, stream_sizes
from .runs import Status, Step
from .service import alive
from .services import Services

#: How a request to a model begins to say that it may not be sent yet.
WAITING: Final = "waiting for "

#: Seconds without a change after which a run is looked at whether it is over.
_LOOK: Final = 1.0
#: Seconds between two looks at a run that only copies know, and without a change until it counts as over.
_POLL: Final = 2.0
_QUIET: Final = 10.0
#: Seconds the server gets to tell what waits.
_DEADLINE: Final = 3.0
#: How far the clock of the server may be behind a host's.
_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Stage:
    """One event in one handler's hands, beside its questions to models."""

    handler: str
    event_id: str
    replay: str | None
    status: Status
    progress: float
    attempt: int
    #: None while it is at work.
    seconds: float | None
    #: What it is doing (``chunk 2 of 7; …``), what it waits for, or why it failed.
    message: str
    #: Units of work that are done, and all of them; None where the stage does not count any.
    done: int | None
    of: int | None
    cached: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at a run."""

    run: str
    status: Status
    #: Nothing of it goes on any more, and nothing is left to do.
    ended: bool
    stages: tuple[Stage, ...]
    #: What models have answered so far took; None when a price is not known.
    tokens: int
    cost_usd: Decimal | None
    #: What its questions to models wait for at the moment.
    waiting: tuple[str, ...]


def picture(run: str, steps: Iterable[Step], *, ended: bool = False) -> Picture:
    """The steps of a run as one picture."""
    ordered = sorted(steps, key=lambda step: step.started)
    questions = [step for step in ordered if step.subject in LlmRequest.subjects()]
    held = {
        step.causation: step.message for step in questions if step.status == "running" and _waits(step.message or "")
    }
    return Picture(
        run=run,
        status=overall(ordered),
        ended=ended,
        stages=tuple(_stage(step, held.get(step.event_id)) for step in ordered if step not in questions),
        tokens=sum(count for step in questions if isinstance(count := step.facts.get("tokens"), int)),
        cost_usd=_cost(questions),
        waiting=tuple(dict.fromkeys(message for message in held.values() if message)),
    )


def overall(steps: Iterable[Step]) -> Status:
    """The status of a run, from its steps in order of their start."""
    latest = {(step.handler, step.event_id): step.status for step in steps}  # a replay makes up for what failed before
    states = set(latest.values())
    order: tuple[Literal["failed", "retrying", "running"], ...] = ("failed", "retrying", "running")
    return next((state for state in order if state in states), "done")


async def watch(services: Services, run: str) -> AsyncGenerator[Picture, None]:
    """Pictures of a run, one per change; the last one says that it has ended.

    Raises:
        BusError: the server does not answer.
    """
    pictures = _live(services, run) if await services.runs.steps(run) else _copied(services, run)
    last = None
    async with contextlib.aclosing(pictures) as found:
        async for each in found:
            if each != last:
                yield each
            last = each


async def _live(services: Services, run: str) -> AsyncGenerator[Picture, None]:
    steps: dict[str, Step] = {}
    changed = asyncio.Event()

    async def follow() -> None:
        async for step in services.runs.follow(run):
            steps[step.key] = step
            changed.set()

    following = asyncio.create_task(follow())
    try:
        while True:
            quiet = False
            try:
                async with asyncio.timeout(_LOOK):
                    await changed.wait()
            except TimeoutError:
                quiet = True
            if following.done():
                following.result()  # raises what ended it
            changed.clear()
            ended = quiet and bool(steps) and await _over(services, run, list(steps.values()))
            yield picture(run, steps.values(), ended=ended and not changed.is_set())
            if ended and not changed.is_set():
                return
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _copied(services: Services, run: str) -> AsyncGenerator[Picture, None]:
    """Where the bus is another one, nobody can tell what is still to come: a run counts as over when it is quiet."""
    loop = asyncio.get_running_loop()
    before, since = None, loop.time()
    while True:
        now = picture(run, await services.steps(run))
        if now != before:
            before, since = now, loop.time()
        ended = now.status in {"done", "failed"} and loop.time() - since >= _QUIET
        yield replace(now, ended=ended)
        if ended:
            return
        await asyncio.sleep(_POLL)


async def _over(services: Services, run: str, steps: list[Step]) -> bool:
    """Nothing of the run is in anybody's hands, and none of its events waits for a handler that is there to take it."""
    if any(step.status in {"running", "retrying"} for step in steps):
        return False
    bus = services.bus
    working = {handler for service in await alive(bus) for handler in service.handlers}
    streams = [size.name for size in await stream_sizes(bus) if size.consumers and not is_bucket(size)]
    found = await gather(streams, lambda name: lags(bus, name), deadline=_DEADLINE)
    if len(found) < len(streams):
        return False  # the server did not tell everything
    seen = {(step.handler, step.event_id) for step in steps}
    since = min(step.stored or step.started for step in steps) - _SKEW
    for one in (one for several in found.values() for one in several):
        handler = handler_of(one.handler)
        if handler not in working or not (one.pending or one.unsettled):
            continue
        for subject in one.subjects:
            async for event in read(bus, one.stream, subject, since=since, run=run):
                if (handler, event.event_id) not in seen:
                    return False
    return True


def _stage(step: Step, held: str | None) -> Stage:
    done, of = step.facts.get("done"), step.facts.get("of")
    counted = isinstance(done, int) and isinstance(of, int)
    held = held if step.status == "running" else None
    return Stage(
        handler=step.handler,
        event_id=step.event_id,
        replay=step.replay,
        status=step.status,
        progress=step.progress,
        attempt=step.attempt,
        seconds=step.seconds,
        message=held or ("from cache" if step.cached else step.message or ""),
        done=done if isinstance(done, int) and counted else None,
        of=of if isinstance(of, int) and counted else None,
        cached=step.cached,
    )


def _waits(message: str) -> bool:
    return message.startswith(WAITING)


def _cost(questions: Iterable[Step]) -> Decimal | None:
    total = Decimal(0)
    for step in questions:
        if "cost_usd" not in step.facts:
            continue
        try:
            total += Decimal(str(step.facts["cost_usd"]))
        except InvalidOperation:  # None, when the price is not known
            return None
    return total
