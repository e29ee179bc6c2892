"""A real container engine with images of this working tree, and the stack of ``compose/`` on it.

Nothing is pulled: the base image is made here unless ``STENOBUS_BASE`` names one. Several stacks may live on one
engine, each under its own project name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import docker
import httpx
import pytest
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container

from stenobus_testing.servers import free_port
from stenobus_testing.waiting import eventually

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
#: Who every container of ours is.
UID = 10001


def engine() -> docker.DockerClient:
    """The engine that answers. Without one, or without what it takes to build, tests skip; on CI they fail."""
    for command in ("docker", "docker-compose"):
        if shutil.which(command) is None:
            missing(f"there is no {command}")
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        missing(f"no container engine answers: {error}")
    return client


def missing(what: str) -> NoReturn:
    """Skip, or fail on CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def base_image(client: docker.DockerClient) -> str:
    """Name of the image that ours are built on: made once per engine, which takes a minute or two."""
    if named := os.environ.get("STENOBUS_BASE"):
        return named
    script = COMPOSE / "base.sh"
    name = f"stenobus-base:{hashlib.sha256(script.read_bytes()).hexdigest()[:12]}"
    try:
        client.images.get(name)
    except ImageNotFound:
        if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
            missing("there is no base image: name one in STENOBUS_BASE, or run as root with mmdebstrap installed")
        subprocess.run([script, name], check=True, timeout=600)
    return name


@dataclass
class Stack:
    """The stack as ``make up`` brings it up, with a state, a port and a name of its own.

    Args:
        folder: for its settings and keys; new, or the one of an earlier stack.
        project: what its containers, networks and volumes are named after.
        base: see :func:`base_image`.
        environment: further settings, as in ``compose/.env.example``.
    """

    folder: Path
    project: str
    base: str
    environment: dict[str, str] = field(default_factory=dict)
    client: docker.DockerClient = field(default_factory=engine)
    port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    monitor_api_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where its server listens."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def all(self) -> dict[str, str]:
        """The environment of its commands."""
        return (
            os.environ
            | {
                "COMPOSE_PROJECT_NAME": self.project,
                "STENOBUS_API_PORT": str(self.api_port),
                "STENOBUS_BASE": self.base,
                "STENOBUS_MONITOR_API_PORT": str(self.monitor_api_port),
                "STENOBUS_PORT": str(self.port),
                "STENOBUS_STACK_ENV": str(self.folder / "env"),
                "STENOBUS_STATE": str(self.folder / "state"),
                "STENOBUS_TAG": "test",
            }
            | self.environment
        )

    def run(self, *arguments: str, timeout: float = 600) -> str:
        """``compose/stack.sh …``; returns what it printed."""
        done = subprocess.run(
            ["bash", COMPOSE / "stack.sh", *arguments],
            env=self.all,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"stack.sh {' '.join(arguments)}\n{done.stdout[-8000:]}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """``docker-compose …`` with this stack's settings."""
        return self.run("compose", *arguments)

    def image(self, name: str) -> Any:
        """One of the built images, such as ``kb``."""
        return self.client.images.get(f"stenobus-{name}:test")

    def containers(self, service: str | None = None) -> list[Container]:
        """All containers of the stack or of one of its services, ended ones included."""
        labels = [f"com.docker.compose.project={self.project}", "com.docker.compose.oneoff=False"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        return list(self.client.containers.list(all=True, filters={"label": labels}))

    def container(self, service: str) -> Container:
        """The one container of a service."""
        (found,) = self.containers(service)
        return found

    def remains(self) -> list[str]:
        """Names of whatever the engine still has of the stack: containers, networks, volumes."""
        label = {"label": f"com.docker.compose.project={self.project}"}
        found = [
            *self.client.containers.list(all=True, filters=label),
            *self.client.networks.list(filters=label),
            *self.client.volumes.list(filters=label),
        ]
        return [each.name for each in found]

    def key(self, service: str, *command: str) -> str:
        """A key of an HTTP interface, made in a container: ``stenobus … keys add …``."""
        said = self.compose("exec", "-T", service, "stenobus", *command)
        found = re.search(r"stk_\S+", said)
        assert found is not None, said
        return found[0]

    async def asks(self, port: int, path: str, key: str | None = None) -> httpx.Response:
        """What one of its HTTP interfaces answers, once it listens: some start only when they have a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}

        async def answer() -> httpx.Response | None:
            async with httpx.AsyncClient(timeout=30) as client:
                try:
                    return await client.get(f"http://127.0.0.1:{port}{path}", headers=headers)
                except httpx.TransportError:
                    return None

        return await eventually(answer, 120)

    def kill(self, service: str) -> None:
        """End a service's first process by SIGKILL behind the engine's back, as a crash would: `docker kill` counts as
        a person's wish, after which the engine starts nothing anew."""
        container = self.container(service)
        container.reload()
        kill = f"kill -9 {container.attrs['State']['Pid']}"  # the shell's own: the image has no other
        self.client.containers.run(self.base, ["sh", "-c", kill], pid_mode="host", remove=True)

    def credentials(self, user: str) -> Path:
        """A user's secret in a file that this process can read; the stack's own belongs to :data:`UID`."""
        seed = self.client.containers.run(
            self.base,
            ["cat", f"/credentials/{user}.nk"],
            user=str(UID),
            volumes={str(self.folder / "state" / "users" / "credentials"): {"bind": "/credentials", "mode": "ro"}},
            remove=True,
        )
        path = self.folder / f"{user}.nk"
        path.touch(mode=0o600)
        path.write_bytes(seed)
        return path
