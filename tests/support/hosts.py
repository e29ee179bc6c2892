"""Plugins on a real bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stenobus_bus import Bus, Envelope
from stenobus_bus.dead_letters import Entry, letters
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Event
from stenobus_core import CoreSettings, Host, Plugin
from stenobus_core.runs import Runs, Step


def unique(name: str = "plugin") -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


class Stage:
    """Runs plugins and looks at what came of it."""

    def __init__(self, bus: Bus, settings: CoreSettings) -> None:
        self.bus, self.settings = bus, settings
        self.hosts: list[Host] = []

    async def run(self, *plugins: Plugin, bus: Bus | None = None, **settings: Any) -> Host:
        host = Host(self.settings.model_copy(update=settings), bus or self.bus, plugins)
        await host.start()
        self.hosts.append(host)
        return host

    async def publish(self, event: Event, **more: Any) -> None:
        await self.bus.publish(event, Envelope.new(event, "test", **more))

    async def stored(self, contract: type[Event]) -> list[Remembered]:
        return [message async for message in read(self.bus, domain_stream(contract.subject), contract.subject)]

    async def letters(self, handler: str | None = None) -> list[Entry]:
        return [entry async for entry in letters(self.bus, handler)]

    async def steps(self, run: str | None = None) -> list[Step]:
        return await (await Runs.open(self.bus)).steps(run)

    async def settled(self, handler: str, stream: str = "TEST") -> bool:
        info = await self.bus.api(f"CONSUMER.INFO.{stream}.{handler}")
        return bool(info["num_pending"] == info["num_ack_pending"] == 0)


@asynccontextmanager
async def stage(bus: Bus, settings: CoreSettings) -> AsyncIterator[Stage]:
    stage = Stage(bus, settings)
    yield stage
    for host in stage.hosts:
        await host.stop(grace=0)
