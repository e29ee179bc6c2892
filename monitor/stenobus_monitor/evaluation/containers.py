"""The containers of one case, with their network and small disks."""

from __future__ import annotations

from typing import Any, Final

from ..containers import moment
from .case import Service
from .errors import EvaluationError
from .leftovers import removed
from .owner import LABEL, OWNER, mine

#: Seconds that the engine gives to whoever asks for none.
_GRACE: Final = 10.0


class Containers:
    """Everything of one world that is on the engine.

    Args:
        client: of the engine.
        image: of the containers that name none.
        prefix: of all names.
    """

    def __init__(self, client: Any, image: str, prefix: str) -> None:
        self.client, self.image, self.prefix = client, image, prefix
        #: What marks everything that belongs to this world, and whose it is.
        self.label = {LABEL: prefix, OWNER: mine()}
        #: The network of all of them.
        self.network: Any = None
        self._containers: dict[str, Any] = {}

    def name(self, service: str) -> str:
        """A service's name on the engine."""
        return f"{self.prefix}-{service}"

    @property
    def started(self) -> frozenset[str]:
        """Services that have a container, or had one."""
        return frozenset(self._containers)

    def connect(self) -> None:
        """Make the network."""
        self.network = self.client.networks.create(self.prefix, labels=self.label)

    def run(self, service: Service, environment: dict[str, str]) -> None:
        """Start a service's container; the environment is that of plugins, beside the service's own."""
        options: dict[str, Any] = {}
        if service.health is not None:
            options["healthcheck"] = {
                "test": ["CMD-SHELL", service.health.command],
                "interval": int(service.health.interval * 1e9),
                "timeout": 2_000_000_000,
                "retries": service.health.retries,
            }
        if service.memory is not None:
            options |= {"mem_limit": service.memory, "memswap_limit": service.memory}
        if service.volume is not None:
            options["volumes"] = {self._disk(service): {"bind": service.volume, "mode": "rw"}}
        command = ["stenobus", "up", *service.plugins] if service.plugins else ["/bin/sh", "-c", str(service.command)]
        policy = {"Name": service.restart} | ({"MaximumRetryCount": 5} if service.restart == "on-failure" else {})
        self.add(
            service.name,
            service.image or self.image,
            command,
            init=service.init,
            environment=environment | service.env,
            labels=_described(service) | service.labels,
            restart_policy=policy,
            tmpfs={folder: f"size={size}" for folder, size in service.tmpfs.items()},
            stop_signal="SIGTERM",
            **options,
        )

    def add(self, service: str, image: str, command: list[str], *, labels: dict[str, str], **options: Any) -> None:
        """Start a container that others reach by its service's name, as in Compose."""
        compose = {"com.docker.compose.service": service, "com.docker.compose.project": self.prefix}
        self._containers[service] = self.client.containers.run(
            image,
            command,
            name=self.name(service),
            detach=True,
            network=self.network.name,
            networking_config={self.network.name: self.client.api.create_endpoint_config(aliases=[service])},
            labels=self.label | compose | labels,
            **options,
        )

    def get(self, service: str) -> Any:
        """A service's container. Raises EvaluationError when it was never started."""
        try:
            return self._containers[service]
        except KeyError as error:
            raise EvaluationError(f"The service {service} was not started.") from error

    def state(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container now."""
        container = self.get(service)
        container.reload()
        found: dict[str, Any] = container.attrs["State"]
        return found

    def died(self, service: str) -> float | None:
        """When a service's process ended last, in seconds since the epoch; None while it never did."""
        ended = moment(self.state(service).get("FinishedAt"))
        return ended.timestamp() if ended else None

    def healthy(self, service: str) -> bool:
        """Whether a service's container runs, and is not ill."""
        state = self.state(service)
        return bool(state.get("Running")) and (state.get("Health") or {}).get("Status", "healthy") == "healthy"

    def grace(self, service: str) -> float:
        """Seconds that a service's container gets to end by itself."""
        asked = self.get(service).attrs["Config"].get("StopTimeout")
        return float(asked) if asked is not None else _GRACE

    def disk(self, service: str) -> str:
        """The name of a service's small disk."""
        return self.name(f"{service}-disk")

    def remove(self) -> None:
        """Remove everything. Never raises for what is gone already."""
        label = {"label": f"{LABEL}={self.prefix}"}
        for container in self.client.containers.list(all=True, filters=label, ignore_removed=True):
            removed(container, force=True, v=True)
        for found in (*self.client.networks.list(filters=label), *self.client.volumes.list(filters=label)):
            removed(found)

    def _disk(self, service: Service) -> str:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=160m"}
        self.client.volumes.create(self.disk(service.name), driver_opts=options, labels=self.label)
        return self.disk(service.name)


def _described(service: Service) -> dict[str, str]:
    found = {}
    if service.plugins:
        found["stenobus.plugin"] = ",".join(service.plugins)
    if service.needs:
        found["stenobus.needs"] = ",".join(service.needs)
    return found
