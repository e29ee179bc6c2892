"""What is watched with which settings: the collectors and the rules of this installation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import JsonValue

from stenobus_bus import Bus
from stenobus_core.blobs import Blobs
from stenobus_core.discovery import discover
from stenobus_core.settings import CoreSettings

from .actions.trash import Emptying
from .collectors import Collector
from .collectors.bus import BusCollector
from .collectors.disks import DiskCollector
from .collectors.engine import EngineCollector
from .collectors.events import EventCollector
from .collectors.logs import LogCollector
from .collectors.metrics import MetricCollector
from .collectors.runs import RunCollector
from .collectors.usage import UsageCollector
from .engine import Engine
from .graph import Flow, Graph
from .incidents import Policy
from .rules import Rule
from .rules.backlog import Backlog
from .rules.blindness import Blindness
from .rules.clocks import Clocks
from .rules.contents import Contents
from .rules.deaths import Deaths
from .rules.deletions import Deletions
from .rules.errors import Errors
from .rules.fullness import Fullness
from .rules.health import Health
from .rules.images import Images
from .rules.letters import Letters
from .rules.memory import Memory
from .rules.metrics import Metrics
from .rules.networks import Networks
from .rules.orphans import Orphans
from .rules.poison import Poison
from .rules.slowness import Slowness
from .settings import Settings
from .store import Store


@dataclass(slots=True)
class Lookouts:
    """Collectors, and where each of them is, so that it goes on from there after a restart."""

    collectors: list[Collector] = field(default_factory=list)
    places: dict[str, Callable[[], JsonValue]] = field(default_factory=dict)
    #: Those that look regularly: seconds between two looks.
    rhythms: dict[str, float] = field(default_factory=dict)


async def lookouts(
    settings: Settings, core: CoreSettings, bus: Bus, blobs: Blobs, engine: Engine | None, store: Store
) -> Lookouts:
    """The collectors that the settings call for. Raises ServerUnavailable."""
    places = await store.get("place.bus")
    known = (
        {name: place for name, place in places.items() if isinstance(place, int)} if isinstance(places, dict) else {}
    )
    on_bus = BusCollector(bus, settings.poll, known, pauses=store.pauses)
    found = Lookouts(
        [
            on_bus,
            RunCollector(bus, settings.poll),
            EventCollector(bus, blobs, tuple({*settings.follows, *settings.follows.values()}), settings.poll),
            DiskCollector(settings.disks or (core.data_dir,), settings.reconcile),
        ],
        {"bus": lambda: dict(on_bus.places)},
        {"bus": settings.poll, "disks": settings.reconcile},
    )
    if settings.clean:
        found.collectors.append(Emptying(settings.clean))
    if engine is not None:
        since = await store.get("place.engine")
        containers = EngineCollector(
            engine, settings.containers, settings.reconcile, since if isinstance(since, float) else None
        )
        found.collectors += [
            containers,
            UsageCollector(engine, settings.containers, settings.usage),
            LogCollector(engine, settings.containers, settings.usage),
        ]
        found.places["engine"] = lambda: containers.since
    if settings.prometheus and settings.queries:
        found.collectors.append(MetricCollector(settings.prometheus, settings.queries, settings.usage))
    return found


def rules(settings: Settings) -> list[Rule]:
    """All rules, with their state empty."""
    return [
        Deaths(),
        Health(),
        Networks(),
        Memory(),
        Errors(),
        Metrics(),
        Backlog(settings.poll),
        Letters(),
        Poison(),
        Deletions(),
        Orphans(settings.follows, timedelta(seconds=settings.patience)),
        Slowness(),
        Contents(),
        Fullness(),
        Clocks(),
        Blindness(),
        Images(),
    ]


def graph(settings: Settings, core: CoreSettings) -> Graph:
    """Who needs whom by the declarations of the plugins that are installed here, whatever this process itself runs."""
    known = Graph()
    everything = discover(core.model_copy(update={"plugins": (), "plugins_off": ()}))
    for plugin in everything.plugins.values():
        for handler in plugin.handlers:
            said = frozenset(subject for output in handler.outputs for subject in output.subjects())
            asked = frozenset(subject for request in handler.requests for subject in request.subjects())
            known.declare(handler.name, Flow(plugin.name, frozenset(handler.contract.subjects()), said, asked))
    for first, second in settings.follows.items():
        known.follows(first, second)
    return known


def policy(settings: Settings) -> Policy:
    """When signs become an incident, and when it is over."""
    return Policy(
        group_wait=timedelta(seconds=settings.group_wait),
        settle=timedelta(seconds=settings.settle),
        thresholds=settings.thresholds,
    )
