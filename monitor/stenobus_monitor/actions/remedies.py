"""The remedies of this installation: one line each."""

from __future__ import annotations

from dataclasses import dataclass

from stenobus_bus import Bus
from stenobus_core.blobs import Blobs
from stenobus_core.runs import Runs
from stenobus_core.settings import CoreSettings

from ..engine import Engine
from ..graph import Graph
from ..settings import Settings
from ..store import Store
from . import Remedy
from .clean import Clean
from .hands import Hands
from .limits import Limits
from .pause import Pause, Resume
from .quarantine import Quarantine
from .replay import Replay
from .restart import Restart
from .rollback import Rollback


@dataclass(frozen=True, slots=True)
class Tools:
    """What remedies look at and work with."""

    settings: Settings
    core: CoreSettings
    bus: Bus
    blobs: Blobs
    store: Store
    runs: Runs
    graph: Graph
    #: None where containers are not watched.
    engine: Engine | None
    #: None where nothing may be done to containers.
    hands: Hands | None


def remedies(tools: Tools) -> dict[str, Remedy]:
    """Every remedy that is possible here, by its kind."""
    found: list[Remedy] = [
        Pause(tools.bus, tools.runs, tools.store),
        Resume(tools.bus, tools.store),
        Quarantine(tools.bus, tools.blobs, tools.runs, tools.store),
        Replay(tools.bus, tools.runs, tools.graph),
        Clean(tools.bus, tools.settings.clean, tools.core.data_dir),
    ]
    if tools.engine is not None:
        restart = Restart(tools.engine, tools.hands, tools.graph, tools.bus)
        found += [restart, Limits(tools.engine, tools.hands, restart, tools.settings.most_memory)]
        found.append(Rollback(tools.store))
    return {remedy.kind: remedy for remedy in found}
