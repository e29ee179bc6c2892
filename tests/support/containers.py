"""A real container engine, an image of nothing but busybox, and containers that end with their test."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

SOCKET = Path(os.environ.get("STENOBUS_TEST_ENGINE", "/var/run/docker.sock"))


def missing(what: str) -> NoReturn:
    """Skip on a laptop, fail where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} (CI=true: it must be there)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def engine_client() -> Iterator[Any]:
    """The engine, as its own client sees it: it injects the faults."""
    docker = pytest.importorskip("docker")
    if not SOCKET.is_socket():
        missing(f"no container engine listens at {SOCKET}")
    client = docker.DockerClient(base_url=f"unix://{SOCKET}", timeout=120)
    try:
        client.ping()
    except docker.errors.DockerException as error:
        missing(f"the container engine at {SOCKET} does not answer: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def busybox(engine_client: Any) -> Iterator[str]:
    """An image made from scratch: no registry is needed."""
    found = shutil.which("busybox")
    if found is None:
        missing("there is no static busybox (Debian: busybox-static)")
    name = uuid.uuid4().hex[:8]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(found, "busybox")
        # The label keeps layers apart: what two builds share, the first one to end takes from the other.
        steps = (
            "FROM scratch",
            f"LABEL build={name}",
            "COPY busybox /bin/busybox",
            'RUN ["/bin/busybox", "--install", "/bin"]',
        )
        recipe = "\n".join(steps).encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        archive.addfile(entry, io.BytesIO(recipe))
    context.seek(0)
    tag = f"stenobus-containers-test:{name}"
    engine_client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    yield tag
    engine_client.images.remove(tag, force=True)


class Chronicle:
    """What happens to containers, heard as it happens: the engine itself remembers 256 events of all of them."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heard: list[tuple[str, str]] = []
        self._more = threading.Condition()
        kinds = ["start", "die", "kill", "stop", "restart", "oom", "pause", "unpause", "update", "create"]
        self._stream = client.events(decode=True, filters={"type": ["container", "volume"], "event": kinds})
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def count(self, container: Any, *wanted: str) -> int:
        """How often something happened to a container until now."""
        self._catch_up()
        with self._more:
            return sum(who == container.id and what in wanted for who, what in self._heard)

    def close(self) -> None:
        self._stream.close()
        self._thread.join(timeout=60)

    def _catch_up(self) -> None:
        """Events come in order: when that of a mark is there, all before it are."""
        mark = self._client.volumes.create(name=f"stn-mark-{uuid.uuid4().hex}")
        mark.remove()
        with self._more:
            assert self._more.wait_for(lambda: (mark.id, "create") in self._heard, timeout=60)

    def _listen(self) -> None:
        for event in self._stream:
            with self._more:
                self._heard.append((event["Actor"]["ID"], event["Action"]))
                self._more.notify_all()


class Containers:
    """Starts containers under names that no other test has."""

    def __init__(self, client: Any, image: str) -> None:
        self._client, self._image = client, image
        self.prefix = f"stn-test-{uuid.uuid4().hex[:8]}"
        self._chronicle = Chronicle(client)

    def name(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def run(self, name: str, script: str, **options: Any) -> Any:
        """A container that runs a shell script."""
        return self._client.containers.run(
            self._image, ["/bin/sh", "-c", script], name=self.name(name), detach=True, **options
        )

    def asking(self, name: str, script: str, seconds: int, labels: dict[str, str]) -> Any:
        """A container that asks for so many seconds to end."""
        made = self._client.api.create_container(
            self._image, ["/bin/sh", "-c", script], name=self.name(name), labels=labels, stop_timeout=seconds
        )
        container = self._client.containers.get(made["Id"])
        container.start()
        return container

    def happened(self, container: Any, *events: str) -> int:
        """How often the engine said one of these events of a container."""
        return self._chronicle.count(container, *events)

    def remove(self) -> None:
        self._chronicle.close()
        for container in self._client.containers.list(all=True, filters={"name": self.prefix}):
            container.remove(force=True, v=True)


@pytest.fixture
def containers(engine_client: Any, busybox: str) -> Iterator[Containers]:
    started = Containers(engine_client, busybox)
    yield started
    started.remove()
