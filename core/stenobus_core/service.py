"""Plugins as NATS micro services: ``nats micro ls``, ``info`` and ``stats`` see them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nats import micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, EndpointStats, ServiceConfig

from stenobus_bus import Worker

from .plugin import Plugin


async def register(nc: Client, plugin: Plugin, workers: Mapping[str, Worker[Any]]) -> Callable[[], Awaitable[None]]:
    """Announce a plugin, with an endpoint that tells whether it is ready.

    Returns:
        What takes the announcement back.
    """

    def stats(_: EndpointStats) -> dict[str, Any]:
        return {
            name: {
                "handled": worker.handled,
                "failures": worker.failures,
                "active": worker.active,
                "seconds": round(worker.seconds, 3),
                "ready": worker.healthy,
            }
            for name, worker in workers.items()
        }

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
