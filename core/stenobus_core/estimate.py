"""What a replay would set in motion, judged by what its events set in motion the first time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from stenobus_bus import Bus
from stenobus_bus.envelope import REPLAY, SHADOW
from stenobus_bus.history import read
from stenobus_bus.topology import domain
from stenobus_contracts import registry

from . import cache
from .plugin import Handler
from .runs import Runs, Step


class Cause(NamedTuple):
    """A selected event."""

    event_id: str
    run: str
    time: datetime


@dataclass
class Work:
    """The earlier steps of one handler."""

    steps: int = 0
    #: Steps of which every result came from the stage cache.
    cached: int = 0
    #: Results of the handler in the stage cache, of all runs.
    kept: int = 0


@dataclass
class Estimate:
    """What the same work cost before. What nobody noted is unknown, and never 0."""

    work: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))
    #: Selected events of which the run record has no step: never handled, forgotten by now, or not tracked.
    unrecorded: int = 0
    #: Sum of the noted costs; None when no step noted one.
    cost_usd: Decimal | None = None
    tokens: int | None = None
    #: Steps with a noted cost, and steps that say that their cost is not known.
    priced: int = 0
    unpriced: int = 0

    def count(self, step: Step) -> None:
        """Take in one step."""
        work = self.work[step.handler]
        work.steps += 1
        work.cached += step.cached
        if isinstance(tokens := step.facts.get("tokens"), int):
            self.tokens = (self.tokens or 0) + tokens
        if "cost_usd" not in step.facts:
            return
        try:
            self.cost_usd = (self.cost_usd or Decimal(0)) + Decimal(str(step.facts["cost_usd"]))
            self.priced += 1
        except InvalidOperation:  # None, when the price is not known
            self.unpriced += 1


def behind(handler: Handler, handlers: Iterable[Handler], *, shadowed: bool = False) -> list[str]:
    """The handlers that would work as well, by the declared contracts, nearest first.

    Args:
        shadowed: outputs are diverted, so that only those work whom the handler asks.
    """
    known = list(handlers)
    found: list[str] = []
    reached = [handler]
    while reached:
        contracts = [
            contract for source in reached for contract in (*source.requests, *(() if shadowed else source.outputs))
        ]
        subjects = {contract.subject for contract in contracts}
        reached = [h for h in known if h.contract.subject in subjects and h.name not in {*found, handler.name}]
        found += [h.name for h in reached]
    return found


async def estimate(
    bus: Bus, runs: Runs, handler: str, causes: Collection[Cause], behind: Collection[str], *, shadowed: bool
) -> Estimate:
    """What a replay of events would set in motion.

    Args:
        handler: whose earlier work on the events counts.
        behind: the handlers behind it.
        shadowed: nothing behind the handler would run; what it asks of others counts all the same.

    Raises:
        ServerUnavailable: the server does not answer.
    """
    found = Estimate()
    if not causes:
        return found
    steps = await _steps(runs, {cause.run for cause in causes})
    made = await _made(bus, causes)
    for cause in causes:
        mine = [step for step in steps[cause.event_id] if step.handler == handler]
        found.unrecorded += not mine
        for step in mine:
            found.count(step)
        waiting = [event for event in made[cause.event_id] if event.source == f"stenobus/{handler}"]
        seen: set[str] = set()
        while waiting:
            event = waiting.pop()
            if event.event_id in seen or (shadowed and not event.question):
                continue
            seen.add(event.event_id)
            for step in steps[event.event_id]:
                found.count(step)
            waiting += made[event.event_id]
    for name in {handler, *behind, *found.work}:
        found.work[name].kept = await _kept(bus, name)
    return found


class _Made(NamedTuple):
    """An event that a handler made."""

    event_id: str
    source: str
    #: Somebody is asked for an answer.
    question: bool


async def _steps(runs: Runs, names: Collection[str]) -> Mapping[str, list[Step]]:
    """The first steps of runs, by event: those of later replays would count the same work twice."""
    found: dict[str, list[Step]] = defaultdict(list)
    for name in names:
        for step in await runs.steps(name):
            if step.replay is None:
                found[step.event_id].append(step)
    return found


async def _made(bus: Bus, causes: Collection[Cause]) -> Mapping[str, list[_Made]]:
    """What was made of what in the events' runs, by cause. Their bodies pass by."""
    begin, names = min(cause.time for cause in causes), {cause.run for cause in causes}
    found: dict[str, list[_Made]] = defaultdict(list)
    for name in registry.domains():
        async for event in read(bus, domain(name).name, f"{name}.>", since=begin):
            attributes = event.attributes
            causation = attributes.get("causationid")
            if causation is None or REPLAY in attributes or SHADOW in attributes or event.run not in names:
                continue
            contract = registry.by_subject(event.subject)
            question = contract is not None and registry.answer_to(contract) is not None
            found[causation].append(_Made(event.event_id, attributes.get("source", "unknown"), question))
    return found


async def _kept(bus: Bus, handler: str) -> int:
    """Results of a handler in the stage cache."""
    subject = f"$KV.{cache.BUCKET}.{handler}.>"
    info = await bus.api(f"STREAM.INFO.KV_{cache.BUCKET}", {"subjects_filter": subject})
    return int(info.get("total") or len(info["state"].get("subjects") or ()))
