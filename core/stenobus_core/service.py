"""Plugins as NATS micro services: ``nats micro ls``, ``info`` and ``stats`` see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nats import micro
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeout
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, EndpointStats, ServiceConfig

from stenobus_bus import Bus, Worker

from .plugin import Plugin

#: Seconds services get to answer, and those that newcomers get at least, whom nobody waits for yet.
_WAIT: Final = 0.5
_NEWCOMERS: Final = 0.25


async def register(nc: Client, plugin: Plugin, workers: Mapping[str, Worker[Any]]) -> Callable[[], Awaitable[None]]:
    """Announce a plugin, with an endpoint that tells whether it is ready.

    Returns:
        What takes the announcement back.
    """

    def stats(_: EndpointStats) -> dict[str, Any]:
        return {name: figures(worker) for name, worker in workers.items()}

    async def ready(request: Request) -> None:
        state = {name: worker.healthy for name, worker in workers.items()}
        await request.respond(json.dumps({"ready": all(state.values()), "handlers": state}).encode())

    service = await micro.add_service(
        nc,
        ServiceConfig(
            name=plugin.name,
            version=plugin.version,
            description=plugin.summary or plugin.name,
            metadata={handler.name: handler.contract.subject for handler in plugin.handlers},
            stats_handler=stats,
        ),
    )
    await service.add_endpoint(EndpointConfig(name="ready", subject=f"stenobus.ready.{plugin.name}", handler=ready))

    async def withdraw() -> None:
        if not nc.is_closed:
            await service.stop()

    return withdraw


def figures(worker: Worker[Any]) -> dict[str, Any]:
    """What a handler tells about itself, counted since its process began."""
    stats = worker.stats
    return {
        "handled": stats.handled,
        "failures": stats.failures,
        "retried": stats.retried,
        "skipped": stats.skipped,
        "dead": dict(stats.dead),
        "active": worker.active,
        "asked": worker.asked,
        "room": worker.room,
        "slots": worker.slots,
        "seconds": round(stats.seconds, 3),
        "work": list(stats.work.counts),  # per bound of stenobus_bus.stats.BOUNDS
        "ready": worker.healthy,
    }


@dataclass(frozen=True, slots=True)
class Alive:
    """A plugin in one process that answered."""

    plugin: str
    #: Of this process's service; another one after a restart.
    id: str
    #: Figures by handler, see :func:`figures`.
    handlers: Mapping[str, dict[str, Any]]


async def alive(bus: Bus, wait: float = _WAIT, enough: Callable[[Sequence[Alive]], bool] | None = None) -> list[Alive]:
    """Services that answer the NATS micro protocol in time.

    Args:
        wait: seconds they get.
        enough: whether everybody who is expected is among those who have answered: then nobody waits any longer. None
            when nobody knows whom to expect.
    """
    inbox, loop = bus.nc.new_inbox(), asyncio.get_running_loop()
    answers = await bus.nc.subscribe(inbox)
    await bus.nc.publish("$SRV.STATS", reply=inbox)
    asked, found = loop.time(), list[Alive]()
    try:
        async with asyncio.timeout_at(asked + wait) as limit:
            while True:
                message = await answers.next_msg(timeout=wait)
                if not message.data:
                    break  # 503: nobody serves
                stats = json.loads(message.data)
                told: Any = next((point["data"] for point in stats.get("endpoints") or () if point.get("data")), {})
                found.append(Alive(stats["name"], stats["id"], _handlers(told)))
                if enough is not None and enough(found):
                    limit.reschedule(asked + min(wait, _NEWCOMERS))
    except (TimeoutError, NatsTimeout):
        pass  # whoever is alive has answered
    await answers.unsubscribe()
    return sorted(found, key=lambda service: (service.plugin, service.id))


def _handlers(told: Any) -> dict[str, dict[str, Any]]:
    """The figures of our handlers: other services on the server may tell anything."""
    if not isinstance(told, dict):
        return {}
    return {name: data for name, data in told.items() if isinstance(data, dict) and "handled" in data}
