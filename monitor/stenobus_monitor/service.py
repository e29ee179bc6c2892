"""The monitor plugin: it watches by itself, and hears its own incidents like everybody else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from stenobus_contracts import MonitorActionProposed, MonitorIncident
from stenobus_core import Check, Context, Plugin
from stenobus_core.session import connect
from stenobus_core.settings import CoreSettings

from .alerts import alert_line
from .collectors import Collector
from .collectors.engine import EngineCollector
from .engine import Engine
from .incidents import Policy
from .proposals import proposal
from .rules.deaths import Deaths
from .settings import Settings
from .store import Store
from .watch import Watch, speaks

plugin = Plugin(
    "monitor", summary="Watches containers, bus and pipeline, and says what is wrong and why", settings=Settings
)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Only where somebody asks for it."""
    return settings.on


@plugin.lifespan
async def watching(settings: Settings) -> AsyncIterator[Watch]:
    """The watch, from the first event to the last."""
    core = CoreSettings.load("core")
    if settings.nats_creds:
        core = core.model_copy(update={"nats_creds": settings.nats_creds})
    engine = Engine(str(settings.engine)) if settings.engine else None
    try:
        async with connect(core, name="stenobus monitor") as session:
            store = await Store.open(session.bus, core.replicas)
            collectors: list[Collector] = []
            places: dict[str, Any] = {}
            if engine is not None:
                since = await store.get("place.engine")
                containers = EngineCollector(
                    engine, settings.containers, settings.reconcile, since if isinstance(since, float) else None
                )
                collectors.append(containers)
                places["engine"] = lambda: containers.since
            watch = Watch(session.bus, store, collectors, [Deaths()], policy(settings), places=places, out=sys.stdout)
            await watch.start()
            try:
                yield watch
            finally:
                await watch.stop()
    finally:
        if engine is not None:
            await engine.close()


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether the engine's socket is there."""
    if settings.engine is None:
        return [Check("engine", True, "containers are not watched; STENOBUS_MONITOR_ENGINE names the engine's socket")]
    there = settings.engine.is_socket()
    return [Check("engine", there, str(settings.engine) if there else f"{settings.engine} is no socket")]


# Alerts and proposals of one incident follow each other, so that its end is never told before its beginning.
@plugin.handler(name="monitor-alert", concurrency=1)
async def alert(event: MonitorIncident, ctx: Context[Settings, Watch]) -> None:
    """Tell people on standard output."""
    if ctx.replay is None and ctx.shadow is None and speaks(event):
        print(alert_line(event), flush=True)


@plugin.handler(name="monitor-propose", concurrency=1)
async def propose(event: MonitorIncident, ctx: Context[Settings, Watch]) -> MonitorActionProposed | None:
    """Propose the remedy that the kind of incident calls for."""
    return proposal(event, datetime.now(UTC))


def policy(settings: Settings) -> Policy:
    """When signs become an incident, and when it is over."""
    return Policy(
        group_wait=timedelta(seconds=settings.group_wait),
        settle=timedelta(seconds=settings.settle),
        thresholds=settings.thresholds,
    )
