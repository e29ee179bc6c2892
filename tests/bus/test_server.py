"""The embedded server and its users."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stenobus_bus import Bus, EmbeddedServer, ServerUnavailable, apply
from stenobus_bus.server import executable
from stenobus_bus.topology import domain
from stenobus_testing.waiting import DEADLINE, eventually

from ..support.contracts import Ping


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    folder = tmp_path / "data" / "nats"
    yield folder
    for pid in processes(folder):
        os.kill(pid, signal.SIGKILL)


def processes(folder: Path) -> list[int]:
    """Processes of nats-server that run on a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if "nats-server" in command and str(folder) in command:
            found.append(int(entry.name))
    return found


async def answers(url: str) -> bool:
    async with await Bus.connect(url) as bus:
        return bool((await bus.api("INFO"))["streams"] >= 0)


async def test_it_starts_and_the_only_user_stops_it(folder: Path) -> None:
    server = EmbeddedServer(folder, port=0)
    url = await server.start()
    assert server.started
    assert await answers(url)
    await server.stop()
    assert processes(folder) == []
    await server.stop()  # once more is harmless


async def test_a_second_user_shares_it_and_the_last_one_stops_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_bus.server._STOP_TIMEOUT", 300.0)
    first, second = EmbeddedServer(folder, port=0), EmbeddedServer(folder, port=0)
    assert await first.start() == await second.start()
    assert (first.started, second.started) == (True, False)
    await first.stop()
    assert await answers(second.url)
    async with asyncio.timeout(DEADLINE):  # although the process that started it lives on
        await second.stop()
    with pytest.raises(ServerUnavailable):
        await Bus.connect(second.url, timeout=0.3)


async def test_users_in_one_event_loop_may_start_at_the_same_time(folder: Path) -> None:
    servers = [EmbeddedServer(folder, port=0) for _ in range(5)]
    async with asyncio.timeout(DEADLINE):
        urls = await asyncio.gather(*(server.start() for server in servers))
        assert len(set(urls)) == 1
        assert sum(server.started for server in servers) == 1
        await asyncio.gather(*(server.stop() for server in servers))
    assert processes(folder) == []


USER = """
import asyncio, sys
from pathlib import Path
from stenobus_bus import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]), port=0)
    print(await server.start(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await server.stop()

asyncio.run(main())
"""


def user(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def test_a_killed_user_is_not_counted(folder: Path) -> None:
    other = user(folder)
    assert other.stdout
    url = await asyncio.to_thread(other.stdout.readline)
    mine = EmbeddedServer(folder, port=0)
    assert await mine.start() == url.strip()
    assert not mine.started
    other.kill()
    await asyncio.to_thread(other.wait)
    assert await answers(mine.url)
    await mine.stop()
    await eventually(lambda: not any(map(alive, processes(folder))))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_user_that_leaves_does_not_take_the_server_along(folder: Path) -> None:
    other = user(folder)
    assert other.stdout
    await asyncio.to_thread(other.stdout.readline)
    mine = EmbeddedServer(folder, port=0)
    await mine.start()
    await asyncio.to_thread(other.communicate, "\n")
    assert other.returncode == 0
    assert await answers(mine.url)
    await mine.stop()


async def test_a_busy_port_gives_way_to_another(folder: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        server = EmbeddedServer(folder, port=port)
        url = await server.start()
        assert not url.endswith(f":{port}")
        assert await answers(url)
        await server.stop()


async def test_a_port_that_is_lost_in_the_last_moment_gives_way_to_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.server._free", lambda port: port != 0)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        server = EmbeddedServer(folder, port=busy.getsockname()[1])
        assert await answers(await server.start())
        await server.stop()


async def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "nats", Path("/proc/stenobus")):
        with pytest.raises(ServerUnavailable, match=f"^The data folder {folder} cannot be used: .*STENOBUS_DATA_DIR"):
            await EmbeddedServer(folder, port=0).start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ServerUnavailable, match="cannot be used: Permission denied"):
        await EmbeddedServer(tmp_path / "nats", port=0).start()


async def test_a_server_that_ends_at_once_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_bus.server._config", lambda *_: "no config {")
    with pytest.raises(ServerUnavailable, match=r"The embedded nats-server ended at once: .*Parse error"):
        await EmbeddedServer(folder, port=0).start()


async def test_without_the_program_it_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServerUnavailable, match="There is no nats-server; install"):
        await EmbeddedServer(folder, port=0).start()


async def test_what_was_stored_is_there_after_a_kill(folder: Path) -> None:
    server = EmbeddedServer(folder, port=0)
    async with await Bus.connect(await server.start()) as bus:
        await apply(bus, [domain("test")])
        await bus.store("test.ping", Ping(number=1).body(), {})
    (pid,) = processes(folder)
    os.kill(pid, signal.SIGKILL)
    again = EmbeddedServer(folder, port=0)
    assert await again.start() == server.url  # where its users wait for it
    assert again.started
    async with await Bus.connect(again.url) as bus:
        assert (await bus.api("STREAM.INFO.TEST"))["state"]["messages"] == 1
    await server.stop()
    await again.stop()
    assert not any(map(alive, processes(folder)))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])  # one that ends in order takes its record along
async def test_a_server_that_ended_is_started_again_on_its_port_while_somebody_keeps_it(
    folder: Path, end: signal.Signals
) -> None:
    server = EmbeddedServer(folder, port=0)
    url = await server.start()
    keeping = asyncio.create_task(server.keep())
    (pid,) = processes(folder)
    async with await Bus.connect(url) as bus:
        os.kill(pid, end)
        await eventually(lambda: [other for other in processes(folder) if other != pid and alive(other)])
        await eventually(lambda: bus.nc.is_connected and bus.nc.stats["reconnects"])
        assert server.url == url
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await server.stop()
    assert not any(map(alive, processes(folder)))


async def test_a_restart_that_fails_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = [OSError("too many open files"), ServerUnavailable("it does not come up")]

    def found() -> Path:
        if troubles:
            raise troubles.pop()
        return executable()

    server = EmbeddedServer(folder, port=0)
    url = await server.start()
    keeping = asyncio.create_task(server.keep())
    monkeypatch.setattr("stenobus_bus.server.executable", found)
    (pid,) = processes(folder)
    os.kill(pid, signal.SIGKILL)
    async with await eventually(lambda: _back(url)):
        assert not troubles
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await server.stop()


async def _back(url: str) -> Bus | None:
    try:
        return await Bus.connect(url)
    except ServerUnavailable:
        return None


async def test_a_stale_record_harms_neither_the_process_nor_the_server_it_names(
    folder: Path, server: EmbeddedServer
) -> None:
    """After a power cut: the id belongs to another process now, and another server answers at the address."""
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ports = folder / "ports"
    ports.mkdir(parents=True)
    (ports / f"nats-server_{innocent.pid}.ports").write_text(json.dumps({"nats": [server.url]}))
    mine = EmbeddedServer(folder, port=0)
    assert await mine.start() != server.url
    assert mine.started
    await mine.stop()
    assert innocent.poll() is None
    innocent.communicate(b"\n")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"nats": []}', '{"nats": [1]}', '{"nats": ["x"]}'])
async def test_a_broken_record_is_no_trouble(folder: Path, content: str) -> None:
    ports = folder / "ports"
    ports.mkdir(parents=True)
    (ports / "nats-server_1.ports").write_text(content)
    server = EmbeddedServer(folder, port=0)
    assert await answers(await server.start())
    await server.stop()


async def test_a_second_server_is_never_started_on_a_folder_whose_server_is_only_slow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(folder, port=0)
    await server.start()
    (pid,) = processes(folder)
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as impatient, pytest.raises(ServerUnavailable, match="does not answer within"):
        impatient.setattr("stenobus_bus.server._START_TIMEOUT", 1.0)
        await EmbeddedServer(folder, port=0).start()
    assert processes(folder) == [pid]
    os.kill(pid, signal.SIGCONT)
    other = EmbeddedServer(folder, port=0)
    assert await other.start() == server.url
    await other.stop()
    await server.stop()


async def test_an_interrupted_start_leaves_no_server_behind(folder: Path) -> None:
    for moment in (0.0, 0.005, 0.02):
        starting = asyncio.create_task(EmbeddedServer(folder, port=0).start())
        await asyncio.wait([starting], timeout=moment)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if starting.cancelled():
            assert not any(map(alive, processes(folder)))
    mine = EmbeddedServer(folder, port=0)
    await mine.start()
    await mine.stop()
    assert not any(map(alive, processes(folder)))


async def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / 'José\'s "talks" $HOME', port=0)
    assert await answers(await server.start())
    await server.stop()


async def test_the_servers_log_does_not_grow_for_ever_and_is_read_from_its_new_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_bus.server._LOG_SIZE", 8192)
    server = EmbeddedServer(tmp_path, port=0)
    await server.start()
    host, port = server.url.removeprefix("nats://").split(":")

    async def noise() -> bool:
        """A line in the log: somebody speaks another protocol."""
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.close()
        assert not server._cannot_write()
        return len([*tmp_path.glob("nats-server.log*")]) > 1

    try:
        await eventually(noise)
        await eventually(lambda: not server._cannot_write() and server._read == server.log.stat().st_size)
        for _ in range(200):
            await noise()
        assert sum(path.stat().st_size for path in tmp_path.glob("nats-server.log*")) < 5 * 8192
    finally:
        await server.stop()
