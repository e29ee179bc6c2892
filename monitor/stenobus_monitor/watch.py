"""The watch: collectors feed rules, rules feed incidents, incidents go onto the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TextIO
from weakref import WeakValueDictionary

import structlog
from pydantic import JsonValue

from stenobus_bus import Bus, BusError, Envelope
from stenobus_bus.envelope import derived_id
from stenobus_contracts import MonitorIncident

from .alerts import alert_line
from .collectors import Collector
from .errors import MonitorError
from .findings import Finding
from .graph import Graph
from .incidents import Entry, Incidents, Policy
from .observations import (
    CollectorState,
    ContainerDied,
    ContainerGone,
    ContainerHealth,
    ContainerSeen,
    ContainerStarted,
    HandlerSeen,
    Observation,
)
from .pulse import Pulse
from .rules import Rule
from .rules.blindness import UNREACHABLE
from .silences import Silence
from .store import Store

log = structlog.get_logger(__name__)

SOURCE: Final = "stenobus/monitor"
#: Observations that may wait; whoever looks then waits, too.
_QUEUE: Final = 10_000
#: Seconds between two ticks, and between two while an incident waits to be told.
_TICK, _HURRY = 1.0, 0.05
#: Seconds until a collector that failed is started again, and for which it has to run until it counts as well though
#: it saw nothing.
_AGAIN: Final = 5.0
_STEADY: Final = 30.0
#: Seconds between two looks at the silences, and two writes of the rules' states.
_SILENCES, _STATES = timedelta(seconds=5), timedelta(seconds=5)
#: Seconds the bus gets to take one incident before it is told without it.
_DEADLINE: Final = 5.0


class Watch:
    """Everything that runs while the monitor runs.

    Args:
        graph: what is known of who needs whom before anything was seen.
        places: where collectors are, by name, so that they go on from there after a restart.
        pulse: beats after each round that went well.
        out: where incidents are told that the bus does not take.
        clock: the time.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        collectors: Sequence[Collector],
        rules: Sequence[Rule],
        policy: Policy,
        *,
        graph: Graph | None = None,
        places: Mapping[str, Callable[[], JsonValue]] | None = None,
        pulse: Pulse | None = None,
        out: TextIO,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self._bus, self._collectors, self._rules = bus, collectors, rules
        self._places, self._pulse, self._out, self._clock = places or {}, pulse, out, clock
        self.graph = graph or Graph()
        self._silences: list[Silence] = []
        self.incidents = Incidents(self.graph, policy, lambda: self._silences)
        self._queue: asyncio.Queue[Observation] = asyncio.Queue(_QUEUE)
        self._tasks: list[asyncio.Task[None]] = []
        self._bringing: asyncio.Task[None] | None = None
        self._kept: dict[str, JsonValue] = {}
        self._ticked = self._asked = self._stated = datetime.min.replace(tzinfo=UTC)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        #: Incidents that were told without the bus, by id and revision.
        self._told: set[tuple[str, int]] = set()

    async def start(self) -> None:
        """Go on where the process before this one ended. Raises ServerUnavailable."""
        self.incidents.restore(await self.store.incidents())
        for rule in self._rules:
            if (state := await self.store.get(f"rule.{rule.name}")) is not None:
                rule.restore(state)
        for entry in self.incidents.entries.values():
            for rule in self._rules:
                rule.resume(entry.cause, entry.incident.component, entry.incident.started_at)
        self._tasks = [
            asyncio.create_task(self._work()),
            *(asyncio.create_task(self._look(c)) for c in self._collectors),
        ]

    async def stop(self) -> None:
        """Look no more; what is known is written down."""
        tasks = [*self._tasks, *filter(None, [self._bringing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pulse:
            await self._pulse.stop()
        try:
            await self._keep_states()
        except BusError as error:
            log.warning("monitor.not_kept", error=str(error))

    def turn(self, incident_id: str) -> asyncio.Lock:
        """Held by whoever works on an incident, so that what is found out about it comes in order."""
        return self._turns.setdefault(incident_id, asyncio.Lock())

    def observe(self, seen: Observation) -> None:
        """Let the graph and every rule see something."""
        match seen:
            case ContainerSeen() | ContainerStarted() | ContainerDied() | ContainerHealth():
                self.graph.see(seen.container)
            case ContainerGone(name=name):
                self.graph.forget(name)
            case HandlerSeen(handler=handler, plugin=name, subjects=subjects):
                self.graph.handler(handler, name, subjects)
            case _:
                pass
        for rule in self._rules:
            self._take(rule, rule.observe, seen)

    def tick(self, now: datetime) -> list[Entry]:
        """Let the time pass. Returns incidents that are to be published."""
        for rule in self._rules:
            self._take(rule, rule.tick, now)
        return self.incidents.tick(now)

    def _take(self, rule: Rule, look: Callable[..., Iterable[Finding]], what: object) -> None:
        try:
            for finding in look(what):
                self.incidents.take(finding)
        except Exception:  # one rule's mistake must not make the others blind
            log.exception("monitor.rule_failed", rule=rule.name)

    # --- tasks -------------------------------------------------------------------------------------------------------

    async def _look(self, collector: Collector) -> None:
        """Run a collector for ever, and tell when it cannot see."""
        while True:
            view = _View(collector.name, self._queue, self._clock, self._looked)
            steady = asyncio.get_running_loop().call_later(_STEADY, view.well)
            try:
                await collector.run(view.emit)
                trouble = "it ended"
            except* (MonitorError, BusError) as several:
                trouble = str(several.exceptions[0])
            except* Exception as several:
                log.exception("monitor.collector_failed", collector=collector.name)
                trouble = f"{type(several.exceptions[0]).__name__}: {several.exceptions[0]}"
            finally:
                steady.cancel()
            self._looked(collector.name)
            await self._queue.put(CollectorState(at=self._clock(), collector=collector.name, trouble=trouble))
            await asyncio.sleep(_AGAIN)

    def _looked(self, collector: str) -> None:
        if self._pulse:
            self._pulse.looked(collector)

    async def _work(self) -> None:
        while True:
            waiting = any(entry.status == "waiting" for entry in self.incidents.entries.values())
            try:
                async with asyncio.timeout(_HURRY if waiting else _TICK):
                    self.observe(await self._queue.get())
                while not self._queue.empty():
                    self.observe(self._queue.get_nowait())
            except TimeoutError:
                pass  # nothing was seen, and time passed
            self._pass(self._clock())

    def _pass(self, now: datetime) -> None:
        """One round: the rules hear of the time once a second, incidents go out, what changed is kept."""
        if (now - self._ticked).total_seconds() >= _TICK:
            self._ticked = now
            due = self.tick(now)
        else:
            due = self.incidents.tick(now)
        silent = any(entry.incident.kind == UNREACHABLE and entry.incident.status == "open" for entry in due)
        if silent or not self._bus.nc.is_connected:
            self._tell_without_bus(due)
        if self._bringing is None or self._bringing.done():
            self._bringing = asyncio.create_task(self._bring(now))

    async def _bring(self, now: datetime) -> None:
        """What a round has for the bus. No round waits for it: a bus that is silent must not make the monitor deaf."""
        try:
            await self._publish_due()
            if now - self._asked >= _SILENCES:
                self._silences, self._asked = await self.store.silences(), now
            if now - self._stated >= _STATES:
                self._stated = now
                await self._keep_states()
            if self._pulse:
                await self._pulse.beat(now)
            await self._publish_due()  # what came meanwhile
        except BusError as error:
            log.warning("monitor.bus_trouble", error=str(error))
            self._tell_without_bus(self.incidents.due)
        except Exception:  # the next round tries again, and until one goes well there is no heartbeat
            log.exception("monitor.bringing_failed")

    async def _publish_due(self) -> None:
        while due := self.incidents.due:
            for entry in due:
                await self._publish(entry)

    async def _publish(self, entry: Entry) -> None:
        """Keep, publish, remember that it is published: a death in between repeats it under the same id."""
        incident = entry.incident
        await self.store.put_incident(entry)
        event_id = derived_id(incident.incident_id, incident.revision)
        envelope = Envelope.new(incident, SOURCE, run=f"incident-{incident.incident_id}", id=event_id)
        await self._bus.publish(incident, envelope, deadline=_DEADLINE)
        self.incidents.settle(entry, incident.revision)
        await self.store.put_incident(entry)

    def _tell_without_bus(self, due: list[Entry]) -> None:
        """The bus itself may be what is wrong: then nobody would hear of it."""
        for entry in due:
            key = entry.incident.incident_id, entry.incident.revision
            if entry.due and key not in self._told and speaks(entry.incident):
                self._told.add(key)
                print(alert_line(entry.incident), file=self._out, flush=True)

    async def _keep_states(self) -> None:
        values = {f"rule.{rule.name}": rule.state() for rule in self._rules}
        values |= {f"place.{name}": place() for name, place in self._places.items()}
        for key, value in values.items():
            if value is not None and self._kept.get(key) != value:
                await self.store.put(key, value)
                self._kept[key] = value


class _View:
    """One run of a collector: it sees well once it has seen something, not because it was started."""

    def __init__(
        self,
        name: str,
        queue: asyncio.Queue[Observation],
        clock: Callable[[], datetime],
        looked: Callable[[str], None],
    ) -> None:
        self._name, self._queue, self._clock, self._looked = name, queue, clock, looked
        self._told = False

    async def emit(self, seen: Observation) -> None:
        """Hand on what the collector saw."""
        self._looked(self._name)
        if not self._told:
            self._told = True
            await self._queue.put(self._state)
        await self._queue.put(seen)

    def well(self) -> None:
        """It has run for long, and there was nothing to see."""
        if not self._told and not self._queue.full():
            self._told = True
            self._queue.put_nowait(self._state)

    @property
    def _state(self) -> CollectorState:
        return CollectorState(at=self._clock(), collector=self._name, trouble=None)


def speaks(incident: MonitorIncident) -> bool:
    """Whether people want to hear of it: not of what follows from something they heard of, nor what they silenced."""
    return not incident.silenced and incident.caused_by is None
