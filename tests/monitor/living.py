"""Everything that carries actions out, on a real bus and a real engine, without the watch before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stenobus_bus import Bus
from stenobus_contracts import Level, MonitorIncident
from stenobus_monitor.actions import Remedy
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.actions.hands import Hands
from stenobus_monitor.actions.life import Life
from stenobus_monitor.actions.limits import Limits
from stenobus_monitor.actions.progress import Progress
from stenobus_monitor.actions.proposing import Proposing
from stenobus_monitor.actions.restart import Restart
from stenobus_monitor.engine import Engine
from stenobus_monitor.findings import line
from stenobus_monitor.graph import Graph
from stenobus_monitor.incidents import Entry
from stenobus_monitor.store import Store
from stenobus_testing import eventually

from ..support.containers import SOCKET

#: Ends with exit code 3 at SIGUSR1.
CRASHES = "trap 'exit 3' USR1; echo ready; while true; do sleep 0.05; done"
#: Is healthy until somebody takes its file away, and takes its time to end.
SLOW = "trap 'sleep 2; exit 0' TERM; touch /ok; while true; do sleep 0.05; done"
PLUGIN = {"stenobus.plugin": "acme"}


def crash(container: Any) -> None:
    """Let a container that runs :data:`CRASHES` crash: from within, as the engine takes its signals for a person's."""
    next(iter(container.logs(stream=True, follow=True)))  # it hears of signals from here on
    container.exec_run(["/bin/kill", "-USR1", "1"], detach=True)
    container.wait(timeout=60)


class Believer:
    """Trusts everything."""

    async def allows(self, kind: str, incident_kind: str) -> bool:
        return True


@dataclass
class World:
    """One monitor's parts. Several may work on one bus and one engine."""

    store: Store
    engine: Engine
    graph: Graph
    life: Life
    proposing: Proposing
    hands: Hands

    @classmethod
    async def begin(
        cls, bus: Bus, *, key: Path | None = None, levels: dict[str, Level] | None = None, socket: str = str(SOCKET)
    ) -> World:
        store, engine, graph = await Store.open(bus), Engine(str(SOCKET)), Graph()

        async def token(action_id: str) -> str | None:
            course = await store.course(action_id.removesuffix("-undo"))
            return course.token if course else None

        hands = Hands(socket, token)
        restart = Restart(engine, hands, graph, bus)
        several: list[Remedy] = [restart, Limits(engine, hands, restart, 8 * 1024**3)]
        remedies = {remedy.kind: remedy for remedy in several}
        approvals = Approvals(key)
        life = Life(store, remedies, approvals, Progress(bus, store, graph), engine)
        proposing = Proposing(
            store, remedies, approvals, Believer(), engine,
            levels=levels or {}, holds_for=timedelta(hours=1), able=True, url="https://ops.example.com/monitor/",
        )  # fmt: skip
        return cls(store, engine, graph, life, proposing, hands)

    async def end(self) -> None:
        await self.hands.close()
        await self.engine.close()

    async def happens(self, container: Any, kind: str = "container.crashed", **more: Any) -> MonitorIncident:
        """An incident opens."""
        fields: dict[str, Any] = {
            "incident_id": f"i-{container.name}", "fingerprint": "f", "kind": kind, "severity": "critical",
            "title": f"{container.name} is in trouble", "component": f"container:{container.name}",
            "started_at": datetime.now(UTC), "evidence": (line("event", container.name, "died with exit code 3"),),
        }  # fmt: skip
        incident = MonitorIncident.model_validate({**fields, **more})
        await self.store.put_incident(Entry(incident=incident, status=incident.status, latest_at=incident.started_at))
        return incident

    async def proposes(self, container: Any, kind: str = "container.crashed", **more: Any) -> str:
        """The one action that an incident calls for."""
        (proposed,) = await self.proposing.propose(await self.happens(container, kind, **more))
        return proposed.action.action_id


def healthy_while(path: str) -> dict[str, Any]:
    """A health check that passes while there is a file."""
    return {"test": ["CMD", "/bin/test", "-f", path], "interval": 200_000_000, "timeout": 10**10, "retries": 1}


async def unhealthy(engine: Engine, container: Any) -> None:
    """Let the health check of a container that runs :data:`SLOW` fail."""

    async def health(wanted: str) -> bool:
        return (await engine.inspect(container.name)).health == wanted

    await eventually(lambda: health("healthy"), within=60)
    container.exec_run(["/bin/rm", "/ok"])
    await eventually(lambda: health("unhealthy"), within=60)
