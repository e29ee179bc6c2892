"""Runs cases: a world for each, its steps, what the monitor said of it, and the end of the world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from nats.errors import Error as NatsError

from stenobus_bus import BusError
from stenobus_bus.history import Remembered, read
from stenobus_contracts import MonitorActionDone, MonitorActionProposed, MonitorDiagnosed, MonitorIncident

from ..diagnosis import by_rule
from .case import Case
from .errors import EvaluationError
from .faults import carry_out
from .model import ModelServer, Script
from .outcome import Acted, Outcome, Told
from .score import complete
from .world import SETTINGS, World

_LOOK: Final = 0.2
#: Seconds that a case goes on when everything was said: for what should not be said.
_REST: Final = 2.0
#: Seconds after the mending until the monitor must have told what it could not tell before.
_LATER: Final = 20.0
_STREAM: Final = "MONITOR"


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
        for step in case.steps:
            record.moment = time.time()
            await carry_out(step, world, script)
        await _watch(case, record)
        if case.mend:
            for step in case.mend:
                await carry_out(step, world, script)
            await _later(case, record)
        outcome = record.outcome(begin)
    except (EvaluationError, BusError, NatsError, OSError, _engine_error()) as error:
        outcome = record.outcome(begin)
        outcome.trouble, outcome.log = f"{type(error).__name__}: {error}", world.log()
    finally:
        await asyncio.shield(world.stop())
        del models.scripts[case.name]
    return outcome


class Record:
    """What the monitor said and did so far."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, Told] = {}
        self._actions: list[Acted] = []
        self._read = 0
        #: When the steps began, when the last one did, when its process ended and came back.
        self.begin = 0.0
        self.moment: float | None = None
        self.died: float | None = None
        self.repaired: float | None = None

    async def look(self) -> None:
        """Read on. A bus that is down says nothing."""
        with suppress(BusError, NatsError, TimeoutError, OSError):
            async with asyncio.timeout(5):
                stored = read(self._world.bus, _STREAM, "monitor.>", from_sequence=self._read + 1)
                async with aclosing(stored):
                    async for message in stored:
                        self._read = message.sequence
                        self._take(message)
        await asyncio.to_thread(self._look_at_containers)
        self._hear()

    def outcome(self, begin: float) -> Outcome:
        """All of it."""
        case = self._world.case
        died = self.died if case.moment == "died" else None
        return Outcome(
            case=case.name,
            moment=died or self.moment,
            repaired=self.repaired,
            incidents=tuple(self._told.values()),
            actions=tuple(self._actions),
            seconds=round(time.monotonic() - begin, 1),
            poll=float(case.monitor.get("poll", SETTINGS["poll"])),
        )

    def _take(self, message: Remembered) -> None:
        """Score what was said. What nobody can read fails the case: an action that is not seen would not be judged."""
        at = message.timestamp / 1e9
        match message.subject:
            case MonitorIncident.subject:
                self._incident(MonitorIncident.model_validate_json(message.data), at)
            case MonitorDiagnosed.subject:
                found = MonitorDiagnosed.model_validate_json(message.data)
                if told := self._told.get(found.incident_id):
                    told.cause, told.method, told.cited = found.cause, found.method, found.evidence
            case MonitorActionProposed.subject:
                proposed = MonitorActionProposed.model_validate_json(message.data)
                target = self._world.plain(proposed.action.target)
                self._actions.append(Acted(kind=proposed.action.kind, target=target, level=proposed.level, at=at))
            case MonitorActionDone.subject:
                done = MonitorActionDone.model_validate_json(message.data)
                if done.outcome != "refused":
                    target = self._world.plain(done.action.target)
                    self._actions.append(
                        Acted(kind=done.action.kind, target=target, done=True, outcome=done.outcome, at=at)
                    )

    def _incident(self, incident: MonitorIncident, at: float) -> None:
        plain = self._world.plain
        told = self._told.setdefault(
            incident.incident_id,
            Told(
                id=incident.incident_id,
                kind=incident.kind,
                component=plain(incident.component),
                severity=incident.severity,
                title=plain(incident.title),
                stored=at,
            ),
        )
        told.status = incident.status
        if incident.status == "open":
            by = by_rule(incident)
            told.kind, told.kinds = incident.kind, tuple(dict.fromkeys([*told.kinds, incident.kind]))
            told.severity, told.title, told.caused_by = incident.severity, plain(incident.title), incident.caused_by
            told.rule_cause, told.rule_cited = by.cause, by.evidence
        ids = {line.id for line in told.evidence}
        told.evidence += tuple(
            line.model_copy(update={"text": plain(line.text), "source": plain(line.source)})
            for line in incident.evidence
            if line.id not in ids
        )

    def _hear(self) -> None:
        """Standard output names incidents by their ids; the first line of each counts."""
        for at, line in self._world.told:
            words = line.split(" ", 2)
            if len(words) == 3 and (told := self._told.get(words[1])) and told.alerted is None:
                told.alerted = at

    def _look_at_containers(self) -> None:
        kind, _, service = self._world.case.expected.component.partition(":")
        if kind != "container" or service not in self._world.started or self.repaired is not None:
            return
        with suppress(_engine_error()):
            if self.died is None and (died := self._world.died(service)) and died >= self.begin:
                self.died = died
            if self.died is not None and self._world.healthy(service):
                self.repaired = time.time()


async def _watch(case: Case, record: Record) -> None:
    """Until everything was said, or its time is over."""
    until = time.monotonic() + case.expected.within
    while time.monotonic() < until:
        await record.look()
        if complete(case, record.outcome(0)):
            until = min(until, time.monotonic() + _REST)
        await asyncio.sleep(_LOOK)


async def _later(case: Case, record: Record) -> None:
    until = time.monotonic() + _LATER
    while time.monotonic() < until and case.fault and not complete(case, record.outcome(0)):
        await record.look()
        await asyncio.sleep(_LOOK)


def _engine_error() -> type[Exception]:
    from docker.errors import DockerException

    found: type[Exception] = DockerException
    return found
