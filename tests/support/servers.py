"""A nats-server with a configuration of a test's own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stenobus_bus.server import executable


class Server:
    """A running nats-server."""

    def __init__(self, config: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.config, self.port, self._process = config, port, process

    def url(self, scheme: str = "nats", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}"

    def reload(self) -> None:
        """Read the configuration again, as an operator would have it read."""
        subprocess.run([executable(), "--signal", f"reload={self._process.pid}"], check=True, capture_output=True)


@contextmanager
def nats_server(folder: Path, config: str) -> Iterator[Server]:
    """Run a server on a free port of the loopback.

    Args:
        config: its configuration, without ports and storage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nats-server.conf"
    path.write_text(
        f'host: "127.0.0.1"\nport: -1\nports_file_dir: "{folder}"\njetstream {{ store_dir: "{folder}/js" }}\n{config}\n'
    )
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([executable(), "-c", path], stdout=log, stderr=log)
    try:
        yield Server(path, _port(folder, process), process)
    finally:
        process.kill()
        process.wait()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    file = folder / f"nats-server_{process.pid}.ports"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return int(json.loads(file.read_text())["nats"][0].rpartition(":")[2])
        except (OSError, ValueError):
            time.sleep(0.01)
    raise AssertionError("the server wrote no ports file")
