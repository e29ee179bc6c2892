"""Whether a container has been well for long since a restart: it ran, nothing was wrong, and its handlers moved on."""

from __future__ import annotations

from datetime import datetime

from stenobus_bus import Bus, BusError
from stenobus_core.lag import Lag

from ..containers import Container
from ..graph import Graph
from ..store import Store
from .budget import WELL, Restarted


class Progress:
    """Looks at engine, incidents and bus together."""

    def __init__(self, bus: Bus, store: Store, graph: Graph) -> None:
        self._bus, self._store, self._graph = bus, store, graph

    async def floors(self, container: Container) -> dict[str, int]:
        """How far each handler in a container is, by the server's word."""
        return {name: lag.floor for name, lag in (await self._lags(container)).items()}

    async def well(self, container: Container, last: Restarted, incident_id: str, now: datetime) -> bool:
        """Whether a container was well for long between its last restart and the incident at hand."""
        end = now if container.running else container.finished or now
        if container.started is None or end - max(container.started, last.at) < WELL:
            return False
        component = f"container:{container.name}"
        for entry in await self._store.incidents():
            found = entry.incident
            if found.component == component and found.incident_id != incident_id and found.started_at > last.at:
                return False
        lags = await self._lags(container)
        stuck = [name for name, floor in last.floors.items() if name in lags and lags[name].floor <= floor]
        return not any(lags[name].pending or lags[name].unsettled for name in stuck)

    async def _lags(self, container: Container) -> dict[str, Lag]:
        found: dict[str, Lag] = {}
        for stream, name in self._graph.consumers(container.plugins):
            try:
                found[name] = Lag.of(await self._bus.api(f"CONSUMER.INFO.{stream}.{name}"))
            except BusError:
                continue  # not declared here; whether the bus answers shows elsewhere
        return found
