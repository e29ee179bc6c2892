"""What the monitor of one case said and did so far, read from the bus, its output and the engine."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from typing import Any, Final

from nats.errors import Error as NatsError

from stenobus_bus import BusError
from stenobus_bus.history import Remembered, read
from stenobus_contracts import Action, MonitorActionDone, MonitorActionProposed, MonitorDiagnosed, MonitorIncident

from ..diagnosis import by_rule
from .outcome import Acted, Outcome, Told
from .repairs import Repairs
from .world import World

_STREAM: Final = "MONITOR"


class Record:
    """What the monitor said and did so far."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, Told] = {}
        self._actions: list[Acted] = []
        self._read = 0
        self._repairs = Repairs(world)
        #: When the steps began, and when the last one did.
        self.begin = 0.0
        self.moment: float | None = None

    async def look(self) -> None:
        """Read on. A bus that is down says nothing."""
        with suppress(BusError, NatsError, TimeoutError, OSError):
            async with asyncio.timeout(5):
                stored = read(self._world.bus, _STREAM, "monitor.>", from_sequence=self._read + 1)
                async with aclosing(stored):
                    async for message in stored:
                        self._read = message.sequence
                        self._take(message)
        await self._repairs.look(self.begin)
        self._hear()

    def outcome(self, begin: float) -> Outcome:
        """All of it."""
        case = self._world.case
        died = self._repairs.first(case.expected.component) if case.moment == "died" else None
        return Outcome(
            case=case.name,
            moment=died or self.moment,
            repairs=self._repairs.found,
            incidents=tuple(self._told.values()),
            actions=tuple(self._actions),
            seconds=round(time.monotonic() - begin, 1),
            poll=self._world.poll,
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
                self._acted(proposed.action, at, level=proposed.level)
            case MonitorActionDone.subject:
                done = MonitorActionDone.model_validate_json(message.data)
                if done.outcome != "refused":
                    self._acted(done.action, at, done=True, outcome=done.outcome)

    def _acted(self, action: Action, at: float, **more: Any) -> None:
        target = self._world.plain(action.target)
        self._actions.append(Acted(id=action.action_id, kind=action.kind, target=target, at=at, **more))

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
        for at, line in self._world.monitor.told:
            words = line.split(" ", 2)
            if len(words) == 3 and (told := self._told.get(words[1])) and told.alerted is None:
                told.alerted = at
