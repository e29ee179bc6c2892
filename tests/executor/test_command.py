"""The command as a process of its own: what it says, how it begins and how it ends."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import stenobus_executor
from stenobus_executor.command import main

from ..support.containers import SOCKET
from .conftest import KEY, answer

REQUEST = b"GET /_ping HTTP/1.1\r\nHost: executor\r\n\r\n"


class Process:
    """The command, started."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "executor.sock"
        (folder / "key").write_bytes(KEY)
        self.arguments = [
            *("--listen", str(self.socket), "--state", str(folder / "state.json"), "--key", str(folder / "key")),
            *("--engine", str(SOCKET), *arguments),
        ]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict[str, Any]:
        """Returns its first line."""
        # Neither site-packages nor the environment of Python: it needs the standard library alone.
        run = f"import sys; sys.path.insert(0, {str(Path(stenobus_executor.__path__[0]).parent)!r}); \
from stenobus_executor.command import main; sys.exit(main())"
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", run, *self.arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return dict(json.loads(await self.process.stdout.readline() or b"{}"))

    async def end(self, number: int = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """Its exit code, and what it said since."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, bytes, bytes]:
        assert self.process is not None
        async with asyncio.timeout(60):
            said, complained = await self.process.communicate()
        return self.process.returncode or 0, said, complained


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    found = Process(tmp_path)
    yield found
    if found.process is not None and found.process.returncode is None:
        await found.end(signal.SIGKILL)


async def test_it_listens_until_it_is_told_to_end(process: Process, engine_client: Any) -> None:
    assert (await process.start())["call"] == "listen"
    assert stat.S_IMODE(process.socket.stat().st_mode) == 0o660
    reader, writer = await asyncio.open_unix_connection(process.socket)
    writer.write(REQUEST)
    assert answer(await reader.read()).body == b"OK"
    # Somebody who follows, and somebody who never says what: neither is waited for.
    _, follower = await asyncio.open_unix_connection(process.socket)
    follower.write(REQUEST.replace(b"_ping", b"events"))
    _, silent = await asyncio.open_unix_connection(process.socket)
    code, _, complained = await process.end()
    assert (code, complained) == (0, b"")
    assert not process.socket.exists()
    for each in (writer, follower, silent):
        each.close()


async def test_a_socket_that_was_left_behind_is_taken_over_and_one_in_use_is_not(
    process: Process, tmp_path: Path
) -> None:
    await process.start()
    await process.end(signal.SIGKILL)
    assert process.socket.is_socket()
    assert (await process.start())["call"] == "listen"
    second = Process(tmp_path)
    await second.start()
    code, _, complained = await second.ended()
    assert code == 2 and b"somebody answers" in complained
    reader, writer = await asyncio.open_unix_connection(process.socket)
    writer.write(REQUEST)
    assert answer(await reader.read()).status in {200, 502}
    writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a socket to another group")
async def test_the_socket_is_a_groups(tmp_path: Path) -> None:
    process = Process(tmp_path, "--group", "4242")
    await process.start()
    assert process.socket.stat().st_gid == 4242
    await process.end()


def test_it_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ("--state", str(tmp_path / "state.json"))
    assert main(["--check", *state, "--engine", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    assert "key: none" in said and "engine: The engine does not answer" in said
    (tmp_path / "key").write_bytes(b"short")
    assert main(["--check", *state, "--key", str(tmp_path / "key")]) == 2
    assert "has 5 bytes" in capsys.readouterr().err
    (tmp_path / "state.json").write_text("[]")
    assert main(["--check", *state]) == 2
    assert "is no state" in capsys.readouterr().err
    (tmp_path / "state.json").unlink()
    for wrong in (("--each", "many"), ("--group", "no such group"), ("--listen", str(tmp_path / "no" / "a.sock"))):
        assert main([*state, *wrong]) == 2
        assert capsys.readouterr().err.startswith("stenobus-executor: ")


def test_it_says_that_all_is_well(
    tmp_path: Path, engine_client: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(KEY)
    monkeypatch.setenv("STENOBUS_EXECUTOR_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("STENOBUS_EXECUTOR_STATE", str(tmp_path / "state.json"))
    assert main(["--check", "--engine", str(SOCKET)]) == 0
    assert capsys.readouterr().out.startswith("key: fine\nengine: ")
    assert KEY.decode() not in capsys.readouterr().out


def test_the_ready_check_speaks_to_it(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "compose" / "ready.py"
    path = tmp_path / "a.sock"

    def check() -> int:
        command = [sys.executable, "-I", "-S", str(script), f"unix://{path}:/_ping"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    assert check() == 1
    for status, code in (("200 OK", 0), ("502 Bad Gateway", 1)):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(60)
            command = [sys.executable, "-I", "-S", str(script), f"unix://{path}:/_ping"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as checking:
                connection, _ = listener.accept()
                assert connection.recv(4096).startswith(b"GET /_ping HTTP/1.1\r\nHost: ")
                connection.sendall(f"HTTP/1.1 {status}\r\n\r\nsaid".encode())
                connection.close()
                assert checking.wait(timeout=60) == code
        path.unlink()


def test_it_needs_the_standard_library_alone() -> None:
    modules = list(Path(stenobus_executor.__path__[0]).glob("*.py"))
    assert len(modules) > 5
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names, module
