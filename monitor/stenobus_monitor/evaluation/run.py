"""Runs cases: a world for each, its steps, what the monitor said of it, and the end of the world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout

from stenobus_bus import Bus, BusError

from .case import Case
from .errors import EvaluationError, engine_error
from .faults import carry_out, do
from .model import ModelServer, Script
from .outcome import Outcome
from .person import Person
from .record import Record
from .score import complete
from .world import World

_LOOK: Final = 0.2
#: Outcomes of several runs, each in the order of the cases.
Runs = list[list[Outcome]]
#: Polls in which the monitor looks at the bus at least once, on a busy machine.
_LOOKS: Final = 5
#: Seconds that a case goes on when everything was said: for what should not be said.
_REST: Final = 2.0
#: Seconds after the mending until the monitor must have told what it could not tell before.
_LATER: Final = 20.0


async def run(
    cases: Sequence[Case],
    client: Any,
    image: str,
    socket: str,
    *,
    parallel: int = 2,
    done: Callable[[Case, Outcome], None] = lambda case, outcome: None,
) -> list[Outcome]:
    """Run cases, so many at a time; outcomes in their order.

    Args:
        client: of the engine.
        image: of the containers.
        socket: of the engine.
        done: called with each case as soon as it is over.
    """
    models, turn = ModelServer(), asyncio.Semaphore(parallel)
    await models.start()

    async def one(case: Case) -> Outcome:
        async with turn:
            outcome = await run_case(case, client, image, socket, models)
            done(case, outcome)
            return outcome

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(case)) for case in cases]
        return [task.result() for task in tasks]
    finally:
        await models.stop()


async def repeated(times: int, cases: Sequence[Case], client: Any, image: str, socket: str, **options: Any) -> Runs:
    """Run all of it several times, one after another; options as for :func:`run`. Outcomes by run."""
    return [await run(cases, client, image, socket, **options) for _ in range(times)]


async def run_case(case: Case, client: Any, image: str, socket: str, models: ModelServer) -> Outcome:
    """Run one case. What goes wrong with the case itself is in the outcome; its world is removed whatever happens."""
    begin = time.monotonic()
    script = models.scripts[case.name] = Script(case)
    world = World(client, image, socket, case, models.url(case.name))
    record = Record(world)
    try:
        await world.start()
        for step in case.before:
            await carry_out(step, world, script)
        record.begin = time.time()
        for number, step in enumerate(case.steps, 1):
            await asyncio.sleep(step.after)
            if case.phase is not None and number == len(case.steps):
                await after_a_look(world.bus, world.poll, case.phase)
            record.moment = time.time()
            await do(step, world, script)
        await _watch(case, record, world.person())
        if case.mend:
            for step in case.mend:
                await carry_out(step, world, script)
            await _later(case, record)
        outcome = record.outcome(begin)
    except (EvaluationError, BusError, NatsError, OSError, engine_error()) as error:
        outcome = record.outcome(begin)
        outcome.trouble, outcome.log = f"{type(error).__name__}: {error}", world.monitor.log()
    finally:
        await asyncio.shield(world.stop())
        del models.scripts[case.name]
    return outcome


async def after_a_look(bus: Bus, poll: float, phase: float) -> None:
    """Wait for the monitor's next look at the bus, at which it asks for all streams, and for a part of a poll after it.

    Raises:
        EvaluationError: it does not look.
    """
    heard = await bus.nc.subscribe("$JS.API.STREAM.LIST")
    try:
        await heard.next_msg(timeout=_LOOKS * poll)
    except NatsTimeout as error:
        raise EvaluationError("The monitor does not look at the bus.") from error
    finally:
        await heard.unsubscribe()
    await asyncio.sleep(phase * poll)


async def _watch(case: Case, record: Record, person: Person | None) -> None:
    """Until everything was said and done, or its time is over."""
    until = time.monotonic() + case.expected.within
    while time.monotonic() < until:
        await record.look()
        if person is not None and case.approval is not None:
            await person.answer(record.outcome(0).actions, undo=case.approval.undo)
        if complete(case, record.outcome(0)):
            until = min(until, time.monotonic() + _REST)
        await asyncio.sleep(_LOOK)


async def _later(case: Case, record: Record) -> None:
    until = time.monotonic() + _LATER
    while time.monotonic() < until and case.fault and not complete(case, record.outcome(0)):
        await record.look()
        await asyncio.sleep(_LOOK)
