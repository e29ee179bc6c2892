"""The nats-server of one case: its container, and the evaluation's own connection to it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from stenobus_bus import Bus, BusError
from stenobus_bus import apply as apply_specs
from stenobus_bus.topology import key_value
from stenobus_core.discovery import discover
from stenobus_core.host import needs
from stenobus_core.settings import CoreSettings

from ..store import BUCKET
from .containers import Containers
from .probe import echo, plugin
from .process import LOOK, PATIENCE

#: Its service's name; every case has one.
NATS: Final = "nats"
#: Settings of every process that works on it: short times, so that a case takes seconds.
QUICK: Final = {"STENOBUS_ACK_WAIT": "3", "STENOBUS_GRACE": "1"}
_WORKERS: Final = {"STENOBUS_ALERT_THRESHOLD": "5", "STENOBUS_ALERT_WINDOW": "10"}


class Server:
    """The server.

    Args:
        folder: for the data of whoever works on it from this host.
    """

    def __init__(self, containers: Containers, folder: Path) -> None:
        self._containers, self._folder = containers, folder
        self._password = secrets.token_hex(8)
        self._port = _free_port()
        self._bus: Bus | None = None

    @property
    def url(self) -> str:
        """The server, as this host reaches it."""
        return f"nats://stenobus:{self._password}@127.0.0.1:{self._port}"

    @property
    def bus(self) -> Bus:
        """The evaluation's connection."""
        assert self._bus is not None
        return self._bus

    @property
    def inside(self) -> dict[str, str]:
        """The environment of containers that work on it."""
        return {"STENOBUS_NATS_URL": f"nats://stenobus:{self._password}@{NATS}:4222"} | QUICK | _WORKERS

    @property
    def outside(self) -> dict[str, str]:
        """The environment of processes of this host that work on it."""
        return {
            "STENOBUS_NATS_URL": self.url,
            "STENOBUS_DATA_DIR": str(self._folder / "data"),
            "STENOBUS_LOG_FORMAT": "json",
        } | QUICK

    def run(self) -> None:
        """Start its container."""
        self._containers.add(
            NATS,
            self._containers.image,
            ["nats-server", "-js", "-sd", "/data", "--user", "stenobus", "--pass", self._password],
            labels={},
            ports={"4222/tcp": ("127.0.0.1", self._port)},
        )

    async def open(self, used: Iterable[str], monitor: tuple[str, ...]) -> None:
        """Connect, and make the streams and consumers that plugins need.

        Args:
            used: plugins of the evaluation's containers.
            monitor: plugins beside the containers.

        Raises:
            BusError: it does not come up.
        """
        self._bus = await self._connect()
        own = [each for each in (plugin, echo) if each.name in set(used)] or [plugin]
        core = CoreSettings(nats_url=self.url, data_dir=self._folder / "data", ack_wait=3.0)
        plugins: list[Any] = [*discover(core, monitor).plugins.values(), *own]
        # The monitor's bucket too: what approves opens it before the monitor is up.
        await apply_specs(self._bus, [*needs(core, plugins), key_value(BUCKET)])

    async def close(self) -> None:
        """Close the connection."""
        if self._bus is not None:
            await self._bus.close()

    async def serves(self, handler: str) -> bool:
        """Whether a handler of a container asks for work."""
        return bool((await self.bus.api(f"CONSUMER.INFO.EVAL.{handler}")).get("num_waiting"))

    async def _connect(self) -> Bus:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await Bus.connect(self.url)
            except BusError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK)


def _free_port() -> int:
    """A port of the loopback interface that nobody has at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
