"""A disk without room: publishers wait and say so, nothing that was acknowledged is lost, and it goes on by itself.

The server's store is on a small file system in memory, which root alone can mount.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stenobus_bus import Bus, EmbeddedServer, Envelope, Received, apply
from stenobus_bus.topology import domain, key_value
from stenobus_testing.waiting import eventually

from ..bus.conftest import Bench
from ..support.contracts import Ping, Pong

MIB = 2**20
#: Of what is published here.
BODY = "x" * 50_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        reason = f"no file system can be mounted: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
async def server(disk: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(disk / "nats", port=0)
    await server.start()
    keeping = asyncio.create_task(server.keep())
    yield server
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    await server.stop()


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file takes all but a few bytes."""
    space = os.statvfs(disk)
    file = disk / "somebody-elses"
    with file.open("wb") as filler:
        filler.write(bytes(max(0, space.f_bavail * space.f_bsize - leave)))
    return file


async def test_a_full_disk_makes_everybody_wait_and_loses_nothing(
    disk: Path, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[int] = []

    async def handle(received: Received[Ping]) -> list[Pong]:
        handled.append(received.event.number)
        return [Pong(number=received.event.number)]

    monkeypatch.setattr("stenobus_bus.post.ACK_TIMEOUT", 0.5)
    async with await Bus.connect(server.url) as bus:
        await apply(bus, [domain("test"), domain("dlq"), key_value("stenobus_ledger")])
        bench = Bench(bus)
        await bench.work(handle)
        acked: list[int] = []

        async def publish() -> None:
            for number in range(60):
                event = Ping(number=number, text=BODY)
                await bus.publish(event, Envelope.new(event, "disk", id=str(number)))
                acked.append(number)

        filler = fill(disk, leave=1 * MIB)
        with capture_logs() as logs:
            publishing = asyncio.create_task(publish())
            said = [  # by the publisher, and by whoever keeps the server
                await eventually(lambda event=event: [entry for entry in logs if entry["event"] == event])
                for event in ("publish.waiting", "server.disk_full")
            ]
            assert all(said)
            before = len(acked)
            assert before < 60
            filler.unlink()
            await publishing
        assert acked == list(range(60))
        await eventually(lambda: bench.settled())
        assert {message.attributes["id"] for message in await bench.stored(Ping)} == {str(n) for n in range(60)}
        assert len(await bench.stored(Pong)) == 60
        assert sorted(set(handled)) == list(range(60))
        assert await bench.letters() == []
        for worker in bench.workers:
            await worker.stop(grace=0)


async def test_a_server_at_its_own_limit_makes_publishers_wait_and_goes_on_when_something_is_deleted(
    disk: Path, server: EmbeddedServer
) -> None:
    """JetStream takes three quarters of what was free at its start, and keeps to it."""
    async with await Bus.connect(server.url) as bus:
        await apply(bus, [domain("test"), domain("other")])
        body = os.urandom(900_000)
        with capture_logs() as logs:

            async def publish() -> None:
                for _ in range(60):
                    await bus.store("other.thing", body, {})

            publishing = asyncio.create_task(publish())
            await eventually(lambda: [entry for entry in logs if entry["event"] == "publish.stream_full"])
            full = (await bus.api("STREAM.INFO.OTHER"))["state"]["messages"]
            await bus.api("STREAM.PURGE.OTHER")
            await publishing
        left = (await bus.api("STREAM.INFO.OTHER"))["state"]["messages"]
        assert full + left == 60
