"""Real nats-servers that tests may kill, pause and cut off: one alone, or a cluster of three."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

from stenobus_bus.server import executable
from stenobus_testing.waiting import eventually

from .proxy import Proxy


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Node:
    """A nats-server on a port and a store of its own; both stay when it is killed and started again.

    Args:
        settings: more of its configuration.
    """

    def __init__(
        self, folder: Path, *, name: str = "server", port: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        self.name, self.folder = name, folder
        self.port = port or free_ports(1)[0]
        self._settings = settings or {}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / f"{self.name}.log"

    async def start(self) -> Node:
        """Start it, and wait until it takes connections."""
        config = self.folder / f"{self.name}.conf"
        jetstream = {"store_dir": str(self.folder / self.name), "sync_interval": "10s"}
        config.write_text(
            json.dumps(
                {"server_name": self.name, "host": "127.0.0.1", "port": self.port, "jetstream": jetstream}
                | self._settings
            )
        )
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                str(executable()), "-c", str(config), stdout=output, stderr=output
            )
        await eventually(self._answers)
        return self

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-2000:]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        greeting = await reader.read(4)
        writer.close()
        return greeting == b"INFO"

    @property
    def running(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def jetstream(self) -> dict[str, Any]:
        """What it tells about its JetStream; nothing when it does not answer."""
        url = f"http://{self._settings['http']}/jsz?streams=true&config=false"
        try:
            answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=2)
            found: dict[str, Any] = json.loads(await asyncio.to_thread(answer.read))
        except OSError:
            return {}
        return found

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self.running:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Cluster:
    """Three servers on loopback. Each reaches each other through a proxy, so that one can be cut off from the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes: dict[tuple[int, int], Proxy] = {}
        self.servers: list[Node] = []

    async def start(self) -> Cluster:
        """Start all three."""
        ports = free_ports(9)
        for one, other in itertools.permutations(range(3), 2):
            self._routes[one, other] = await Proxy(ports[3 + other]).start()
        for number in range(3):
            routes = [proxy.url for (one, _), proxy in self._routes.items() if one == number]
            cluster = {
                "name": "chaos",
                "host": "127.0.0.1",
                "port": ports[3 + number],
                "no_advertise": True,  # clients know their proxies, and nothing else
                "advertise": "127.0.0.1:1",  # nor do the servers go round theirs
                "routes": routes,
            }
            settings = {"cluster": cluster, "http": f"127.0.0.1:{ports[6 + number]}"}
            self.servers.append(Node(self._folder, name=f"node-{number}", port=ports[number], settings=settings))
        await asyncio.gather(*(server.start() for server in self.servers))
        return self

    async def stop(self) -> None:
        """Kill whoever runs, and end the proxies."""
        await asyncio.gather(*(server.kill() for server in self.servers))
        await asyncio.gather(*(proxy.stop() for proxy in self._routes.values()))

    def isolate(self, server: Node) -> None:
        """Cut a server off from the two others; clients still reach it."""
        number = self.servers.index(server)
        for ends, proxy in self._routes.items():
            if number in ends:
                proxy.hold()

    def heal(self) -> None:
        """Let all of them talk to each other again."""
        for proxy in self._routes.values():
            proxy.heal()

    def named(self, name: str) -> Node:
        """One of them."""
        return next(server for server in self.servers if server.name == name)
