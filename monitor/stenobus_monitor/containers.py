"""What is known of a container. Environment, arguments and labels that may hold secrets are left behind here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from stenobus_executor.passing import known_labels
from stenobus_executor.rules import grace

#: Characters of what a health check says that are kept.
_LONGEST: Final = 500
#: Signals that end a process; a `HUP` that reloads its settings ends nothing.
ENDING: Final = frozenset(
    {"1", "2", "3", "9", "15", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "KILL", "TERM", "INT", "QUIT"}
)
_FRACTION: Final = re.compile(r"\.(\d{1,6})\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container, as the engine describes it."""

    id: str
    name: str
    image: str = ""
    #: Digest of the image it was made from.
    digest: str = ""
    #: created, running, paused, restarting, removing, exited or dead.
    status: str = "running"
    #: starting, healthy or unhealthy; empty without a health check.
    health: str = ""
    #: What the latest failed health check said.
    health_text: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    started: datetime | None = None
    finished: datetime | None = None
    #: no, on-failure, always or unless-stopped.
    restart_policy: str = "no"
    #: Restarts by the engine itself; those by its API are not in there.
    restarts: int = 0
    #: Bytes; 0 for no limit.
    memory_limit: int = 0
    #: Bytes of memory and swap together, -1 for no limit.
    memory_swap: int = 0
    #: Billionths of a processor; 0 for no limit.
    nano_cpus: int = 0
    #: Id or name of the container whose network it shares.
    network_of: str = ""
    #: It is on no network any more, though it should be on one.
    cut_off: bool = False
    tty: bool = False
    #: Seconds in which it may end before the engine kills it.
    grace: int = 10
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self.status in {"running", "paused"}

    @property
    def service(self) -> str:
        """Its name in the Compose file, its own where there is none."""
        return self.labels.get("com.docker.compose.service", self.name)

    @property
    def project(self) -> str:
        """The Compose project, empty where there is none."""
        return self.labels.get("com.docker.compose.project", "")

    @property
    def plugins(self) -> tuple[str, ...]:
        """Plugins that run in it, by the label ``stenobus.plugin``."""
        return tuple(_words(self.labels.get("stenobus.plugin", "")))

    @property
    def needs(self) -> tuple[str, ...]:
        """Services it needs: Compose's ``depends_on`` and the label ``stenobus.needs``."""
        # Compose writes "nats:service_healthy:false,db:service_started:false".
        composed = _words(self.labels.get("com.docker.compose.depends_on", ""))
        return tuple(
            dict.fromkeys([*(each.split(":")[0] for each in composed), *_words(self.labels.get("stenobus.needs", ""))])
        )

    @property
    def restarts_with(self) -> tuple[str, ...]:
        """Services with which it has to be restarted, as ``restart: true`` in Compose's ``depends_on`` says."""
        composed = (word.split(":") for word in _words(self.labels.get("com.docker.compose.depends_on", "")))
        return tuple(parts[0] for parts in composed if parts[2:] == ["true"])

    @property
    def is_job(self) -> bool:
        """Whether it is meant to end: a one-off of Compose, or the label ``stenobus.job`` says so."""
        one_off = self.labels.get("com.docker.compose.oneoff", "").lower() == "true"
        return one_off or self.labels.get("stenobus.job", "").lower() == "true"


def container(inspected: Mapping[str, Any]) -> Container:
    """Read the engine's answer to ``GET /containers/{id}/json``."""
    state, config, host = inspected.get("State") or {}, inspected.get("Config") or {}, inspected.get("HostConfig") or {}
    health = state.get("Health") or {}
    checks = health.get("Log") or []
    mode = str(host.get("NetworkMode") or "")
    status = str(health.get("Status") or "").replace("none", "")
    status_of, networks = str(state.get("Status") or ""), (inspected.get("NetworkSettings") or {}).get("Networks")
    return Container(
        id=str(inspected["Id"]),
        name=str(inspected.get("Name", "")).lstrip("/"),
        image=str(config.get("Image") or ""),
        digest=str(inspected.get("Image") or ""),
        status=status_of,
        health=status,
        health_text=str(checks[-1].get("Output") or "")[:_LONGEST].strip() if checks and status != "healthy" else "",
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        started=moment(state.get("StartedAt")),
        finished=moment(state.get("FinishedAt")),
        restart_policy=str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        restarts=int(inspected.get("RestartCount") or 0),
        memory_limit=int(host.get("Memory") or 0),
        memory_swap=int(host.get("MemorySwap") or 0),
        nano_cpus=int(host.get("NanoCpus") or 0),
        network_of=mode.removeprefix("container:") if mode.startswith("container:") else "",
        # Without a network by its own settings it is still on one, which is called "none".
        cut_off=status_of == "running" and not mode.startswith("container:") and networks == {},
        tty=bool(config.get("Tty")),
        grace=grace(inspected),
        labels=known_labels(config.get("Labels") or {}),
    )


def moment(text: str | None) -> datetime | None:
    """A time of the engine's, which counts nanoseconds; None for its zero time."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(_FRACTION.sub(lambda found: f".{found[1]:0<6}", text)).astimezone(UTC)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
