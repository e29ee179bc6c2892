"""One case's world on a real engine: a network, a server, containers, a small disk, and the monitor beside them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from stenobus_bus import Bus, BusError
from stenobus_bus import apply as apply_specs
from stenobus_core.discovery import GROUP, discover
from stenobus_core.host import needs
from stenobus_core.settings import CoreSettings

from ..containers import moment
from .case import Case, Service
from .errors import EvaluationError
from .probe import echo, plugin

#: Seconds until a server, a worker and the monitor must be there.
_PATIENCE: Final = 60.0
_LOOK: Final = 0.1
#: Lines of the monitor's output that are kept.
_LINES: Final = 20_000
_LABEL: Final = "stenobus.eval"
#: The settings of the monitor in every case: shorter times than in production, so that a case takes seconds.
SETTINGS: Final[dict[str, Any]] = {
    "on": True,
    "poll": 1.0,
    "usage": 2.0,
    "reconcile": 5.0,
    "settle": 2.0,
    "patience": 6.0,
    "follows": {"eval.task": "eval.done"},
    "diagnose": "local",
    "diagnosis_timeout": 8.0,
}


class World:
    """Everything a case needs, gone when it is over.

    Args:
        client: of the engine.
        image: of the containers, see :mod:`.image`.
        socket: of the engine, for the monitor.
        model: base URL of the scripted model.
        local: whether that one counts as a model of this host.
    """

    def __init__(self, client: Any, image: str, socket: str, case: Case, model: str, *, local: bool = True) -> None:
        self.client, self.case = client, case
        self.prefix = f"stn-eval-{os.getpid()}-{secrets.token_hex(3)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        #: Lines of the monitor's standard output, and when they came.
        self.told: list[tuple[float, str]] = []
        self._image, self._socket, self._model, self._local = image, socket, model, local
        self._password = secrets.token_hex(8)
        self._port = _free_port()
        self._containers: dict[str, Any] = {}
        self._volumes: dict[str, Any] = {}
        self._network: Any = None
        self._monitor: asyncio.subprocess.Process | None = None
        self._executor: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._bus: Bus | None = None

    # --- names -------------------------------------------------------------------------------------------------------

    def name(self, service: str) -> str:
        """A service's name on the engine."""
        return f"{self.prefix}-{service}"

    def plain(self, text: str) -> str:
        """A text with services' names in place of the engine's."""
        return text.replace(f"{self.prefix}-", "")

    @property
    def url(self) -> str:
        """The server, as this host reaches it."""
        return f"nats://stenobus:{self._password}@127.0.0.1:{self._port}"

    @property
    def bus(self) -> Bus:
        """A connection of the evaluation's own."""
        assert self._bus is not None
        return self._bus

    @property
    def core(self) -> CoreSettings:
        """The settings of whoever works here."""
        return CoreSettings(nats_url=self.url, data_dir=self.folder / "data", ack_wait=3.0)

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up. Raises EvaluationError."""
        await asyncio.to_thread(self._start_server)
        self._bus = await self._connect()
        self._load()
        await apply_specs(self._bus, needs(self.core, self._plugins()))
        first = [service for service in self.case.services if service.start == "before"]
        await asyncio.gather(*(asyncio.to_thread(self.run, service) for service in first))
        await self._start_executor()
        await self._start_monitor()
        await self._ready(first)

    async def stop(self) -> None:
        """End the monitor and remove everything. Never raises for what is gone already."""
        for process in (self._monitor, self._executor):
            if process is not None:
                await _end(process)
        for task in self._reading:
            task.cancel()
        if self._bus is not None:
            await self._bus.close()
        await asyncio.to_thread(self._remove)

    def run(self, service: Service) -> None:
        """Start a service's container."""
        options: dict[str, Any] = {}
        if service.health is not None:
            nanos = int(service.health.interval * 1e9)
            options["healthcheck"] = {
                "test": ["CMD-SHELL", service.health.command],
                "interval": nanos,
                "timeout": 2_000_000_000,
                "retries": service.health.retries,
            }
        if service.memory is not None:
            options |= {"mem_limit": service.memory, "memswap_limit": service.memory}
        if service.volume is not None:
            options["volumes"] = {self._volume(service).name: {"bind": service.volume, "mode": "rw"}}
        command = ["stenobus", "up", *service.plugins] if service.plugins else ["/bin/sh", "-c", str(service.command)]
        policy = {"Name": service.restart} | ({"MaximumRetryCount": 5} if service.restart == "on-failure" else {})
        self._containers[service.name] = self.client.containers.run(
            service.image or self._image,
            command,
            name=self.name(service.name),
            detach=True,
            init=service.init,
            network=self._network.name,
            networking_config=self._known_as(service.name),
            environment=self._environment | service.env,
            labels={**self._labels(service), **service.labels},
            restart_policy=policy,
            tmpfs={folder: f"size={size}" for folder, size in service.tmpfs.items()},
            stop_signal="SIGTERM",
            **options,
        )

    def container(self, service: str) -> Any:
        """A service's container. Raises EvaluationError when it was never started."""
        try:
            return self._containers[service]
        except KeyError as error:
            raise EvaluationError(f"The service {service} was not started.") from error

    def died(self, service: str) -> float | None:
        """When a service's process ended last, in seconds since the epoch; None while it never did."""
        container = self.container(service)
        container.reload()
        ended = moment(container.attrs["State"].get("FinishedAt"))
        return ended.timestamp() if ended else None

    def healthy(self, service: str) -> bool:
        """Whether a service's container runs, and is not ill."""
        state = self._state(service)
        return bool(state.get("Running")) and (state.get("Health") or {}).get("Status", "healthy") == "healthy"

    @property
    def started(self) -> frozenset[str]:
        """Services that have a container, or had one."""
        return frozenset(self._containers)

    @property
    def label(self) -> dict[str, str]:
        """What marks everything on the engine that belongs to this world."""
        return {_LABEL: self.prefix}

    @property
    def network(self) -> Any:
        """The network of all containers."""
        return self._network

    @property
    def image(self) -> str:
        """The image of the containers."""
        return self._image

    # --- parts -------------------------------------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "STENOBUS_NATS_URL": f"nats://stenobus:{self._password}@nats:4222",
            "STENOBUS_ACK_WAIT": "3",
            "STENOBUS_GRACE": "1",
            "STENOBUS_ALERT_THRESHOLD": "5",
            "STENOBUS_ALERT_WINDOW": "10",
        }

    def _known_as(self, service: str) -> dict[str, Any]:
        """Others reach it by its service's name, as in Compose."""
        return {self._network.name: self.client.api.create_endpoint_config(aliases=[service])}

    def _labels(self, service: Service) -> dict[str, str]:
        found = {
            _LABEL: self.prefix,
            "com.docker.compose.service": service.name,
            "com.docker.compose.project": self.prefix,
        }
        if service.plugins:
            found["stenobus.plugin"] = ",".join(service.plugins)
        if service.needs:
            found["stenobus.needs"] = ",".join(service.needs)
        return found

    def _plugins(self) -> list[Any]:
        """Those whose streams and consumers the server needs."""
        used = {name for service in self.case.services for name in service.plugins}
        found = discover(self.core, _monitor()).plugins
        return [*found.values(), *(each for each in (plugin, echo) if each.name in used), *([] if used else [plugin])]

    def _start_server(self) -> None:
        self._network = self.client.networks.create(self.prefix, labels={_LABEL: self.prefix})
        self._containers["nats"] = self.client.containers.run(
            self._image,
            ["nats-server", "-js", "-sd", "/data", "--user", "stenobus", "--pass", self._password],
            name=self.name("nats"),
            detach=True,
            network=self._network.name,
            networking_config=self._known_as("nats"),
            ports={"4222/tcp": ("127.0.0.1", self._port)},
            labels={
                _LABEL: self.prefix,
                "com.docker.compose.service": "nats",
                "com.docker.compose.project": self.prefix,
            },
        )

    async def _connect(self) -> Bus:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return await Bus.connect(self.url)
            except BusError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_LOOK)

    def _volume(self, service: Service) -> Any:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=160m"}
        name = self.name(f"{service.name}-disk")
        self._volumes[service.name] = self.client.volumes.create(
            name, driver_opts=options, labels={_LABEL: self.prefix}
        )
        return self._volumes[service.name]

    def _load(self) -> None:
        """The settings of the monitor's process."""
        disks = [
            f"/var/lib/docker/volumes/{self.name(each.name)}-disk/_data" for each in self.case.services if each.volume
        ]
        values = SETTINGS | {
            "engine": self.folder / "executor.sock",
            "executor": self.folder / "executor.sock",
            "containers": f"{self.prefix}-*",
            "disks": ",".join(disks) or str(self.folder),
        }
        values |= self.case.monitor
        target = {
            "name": "scripted",
            "base_url": self._model,
            "model": "scripted",
            "api_key": "none",
            "local": self._local,
            "input_price_per_million": 0,
            "output_price_per_million": 0,
        }
        core = {
            "STENOBUS_NATS_URL": self.url,
            "STENOBUS_DATA_DIR": str(self.folder / "data"),
            "STENOBUS_ACK_WAIT": "3",
            "STENOBUS_GRACE": "1",
            "STENOBUS_LLM_TARGETS": json.dumps([target]),
            "STENOBUS_LOG_FORMAT": "json",
        }
        monitor = {f"STENOBUS_MONITOR_{name.upper()}": _text(value) for name, value in values.items()}
        self.settings = core | monitor

    async def _start_executor(self) -> None:
        """The process that alone does things to containers: with the rules and budgets that it has by default."""
        listen = self.folder / "executor.sock"
        options = {
            "listen": listen,
            "engine": self._socket,
            "state": self.folder / "executor.json",
            "visible": f"{self.prefix}-*",
        }
        self._executor = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "stenobus_executor"),
            *(f"--{name}={value}" for name, value in options.items()),
            cwd=self.folder,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_PATIENCE):
            while not listen.is_socket():
                if self._executor.returncode is not None:
                    raise EvaluationError(f"The executor ended with {self._executor.returncode}.")
                await asyncio.sleep(_LOOK)

    async def _start_monitor(self) -> None:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("STENOBUS_")}
        code = "from stenobus_core.cli import main; main()"
        self._monitor = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            "up",
            *_monitor(),
            cwd=self.folder,
            env=keep | self.settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._monitor.stdout is not None and self._monitor.stderr is not None
        ready = asyncio.Event()

        def out(line: str) -> None:
            if len(self.told) < _LINES:
                self.told.append((time.time(), line))

        def err(line: str) -> None:
            (self.folder / "monitor.log").open("a").write(f"{line}\n")
            if '"event": "up"' in line:
                ready.set()

        self._reading = [
            asyncio.create_task(_lines(self._monitor.stdout, out, ready)),
            asyncio.create_task(_lines(self._monitor.stderr, err, ready)),
        ]
        try:
            await asyncio.wait_for(ready.wait(), _PATIENCE)
        except TimeoutError as error:
            raise EvaluationError("The monitor does not come up.") from error
        if self._monitor.returncode is not None:
            raise EvaluationError(f"The monitor ended with {self._monitor.returncode}; {self.log()}")

    def log(self) -> str:
        """The last lines of what the monitor said of itself."""
        path = self.folder / "monitor.log"
        return "\n".join(path.read_text().splitlines()[-5:]) if path.exists() else ""

    async def _ready(self, services: list[Service]) -> None:
        """Wait until the workers ask for work, and the monitor has seen everything twice."""
        deadline = time.monotonic() + _PATIENCE
        for service in services:
            if not (service.plugins or service.health):
                continue
            while not await self._works(service):
                if time.monotonic() > deadline:
                    raise EvaluationError(f"The service {service.name} does not come up.")
                await asyncio.sleep(_LOOK)
        await asyncio.sleep(2.5 * float(SETTINGS["poll"]))

    async def _works(self, service: Service) -> bool:
        if service.plugins:
            for name in service.plugins:
                stream, consumer = "EVAL", name
                info = await self.bus.api(f"CONSUMER.INFO.{stream}.{consumer}")
                if not info.get("num_waiting"):
                    return False
        return service.health is None or await asyncio.to_thread(self.healthy, service.name)

    def _state(self, service: str) -> dict[str, Any]:
        container = self.container(service)
        container.reload()
        found: dict[str, Any] = container.attrs["State"]
        return found

    def _remove(self) -> None:
        import docker.errors

        label = {"label": f"{_LABEL}={self.prefix}"}
        for container in self.client.containers.list(all=True, filters=label, ignore_removed=True):
            with suppress(docker.errors.NotFound):
                container.remove(force=True, v=True)
        for found in (*self.client.networks.list(filters=label), *self.client.volumes.list(filters=label)):
            with suppress(docker.errors.NotFound):
                found.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _lines(stream: asyncio.StreamReader, take: Callable[[str], None], ended: asyncio.Event) -> None:
    while line := await stream.readline():
        take(line.decode(errors="replace").rstrip())
    ended.set()


def _monitor() -> tuple[str, ...]:
    """Plugins of the monitor's process: the router of language models as well, where it is installed."""
    installed = {point.name for point in entry_points(group=GROUP)}
    return tuple(name for name in ("monitor", "llm") if name in installed)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
