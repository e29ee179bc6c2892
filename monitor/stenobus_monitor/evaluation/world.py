"""One case's world on a real engine: a network, a server, containers, a small disk, and the monitor beside them."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from typing import Any, Final

from stenobus_bus import Bus

from . import monitor as monitors
from .case import Case, Service
from .containers import Containers
from .errors import EvaluationError
from .executor import Executor
from .inbox import Inbox
from .interface import Interface
from .leftovers import NAME, new_folder
from .monitor import SETTINGS, Monitor
from .person import Person
from .process import LOOK, PATIENCE, all_to_their_ends, to_its_end
from .server import Server

#: A disk in memory that nobody fills: how full the host's own are is no matter of a case.
_CALM: Final = "/dev/shm"  # noqa: S108


class World:
    """Everything a case needs, gone when it is over.

    Args:
        client: of the engine.
        image: of the containers, see :mod:`.image`.
        socket: of the engine, for the executor.
        model: base URL of the scripted model.
    """

    def __init__(self, client: Any, image: str, socket: str, case: Case, model: str) -> None:
        self.case = case
        self.prefix = f"{NAME}-{os.getpid()}-{secrets.token_hex(3)}"
        self.folder = new_folder(self.prefix)
        self.containers = Containers(client, image, self.prefix)
        self.server = Server(self.containers, self.folder)
        self.inbox = Inbox()
        self._key = self.folder / "approvals.key"
        self._key.write_text(secrets.token_hex(32))
        approving = self.server.outside | {"STENOBUS_MONITOR_APPROVAL_KEY": str(self._key)}
        self.executor = Executor(self.folder, socket, f"{self.prefix}-*", self._key)
        self.interface = Interface(self.folder, approving)
        self.monitor = Monitor(self.folder)
        self._approving, self._model = approving, model

    @property
    def bus(self) -> Bus:
        """A connection of the evaluation's own."""
        return self.server.bus

    @property
    def poll(self) -> float:
        """Seconds between two looks of the monitor at the bus."""
        return float(self.case.monitor.get("poll", SETTINGS["poll"]))

    def plain(self, text: str) -> str:
        """A text with services' names in place of the engine's."""
        return text.replace(f"{self.prefix}-", "")

    async def start(self) -> None:
        """Bring everything up. Raises EvaluationError, BusError, DockerException."""
        await to_its_end(self.containers.connect)
        await to_its_end(self.server.run)
        first = [service for service in self.case.services if service.start == "before"]
        used = [name for service in self.case.services for name in service.plugins]
        await self.server.open(used, monitors.plugins())
        await all_to_their_ends([self.run(service) for service in first])
        await self.inbox.start()
        await self.executor.start()
        if self.case.approval and self.case.approval.by == "link":
            await self.interface.start()
        settings = self._watched() | self.case.monitor
        await self.monitor.start(self.server.outside | monitors.environment(settings, self._model))
        for service in first:
            await self._ready(service)
        await asyncio.sleep(2.5 * self.poll)  # until the monitor has seen everything twice

    async def stop(self) -> None:
        """End the processes and remove everything. Never raises for what is gone already."""
        for process in (self.interface, self.monitor, self.executor):
            await process.end()
        await self.inbox.stop()
        await self.server.close()
        await to_its_end(self.containers.remove)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def run(self, service: Service) -> None:
        """Start a service's container."""
        await to_its_end(lambda: self.containers.run(service, self.server.inside))

    def person(self) -> Person | None:
        """Whoever approves in this case, None where nobody does."""
        if self.case.approval is None:
            return None
        return Person(
            self.case.approval.by, self.folder, self._key, self.bus, self.interface, self.inbox, self._approving
        )

    def _watched(self) -> dict[str, Any]:
        disks = [
            f"/var/lib/docker/volumes/{self.containers.disk(each.name)}/_data"
            for each in self.case.services
            if each.volume
        ]
        asked = {"channels": [self.inbox.channel], "approval_url": self.interface.address}
        return {
            "engine": self.executor.socket,
            "executor": self.executor.socket,
            "containers": f"{self.prefix}-*",
            "disks": ",".join(disks) or _CALM,
        } | (asked if self.case.approval else {})

    async def _ready(self, service: Service) -> None:
        """Wait until a service asks for work and is healthy."""
        deadline = time.monotonic() + PATIENCE
        while not await self._works(service):
            if time.monotonic() > deadline:
                raise EvaluationError(f"The service {service.name} does not come up.")
            await asyncio.sleep(LOOK)

    async def _works(self, service: Service) -> bool:
        for name in service.plugins:
            if not await self.server.serves(name):
                return False
        return service.health is None or await asyncio.to_thread(self.containers.healthy, service.name)
