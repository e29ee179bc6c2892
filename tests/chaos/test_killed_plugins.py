"""Every plugin is a process of its own and is killed with SIGKILL in the middle of a run: the result stays the same.

The place of the kill is a number of messages on the wire (events, acknowledgements, KV writes, heartbeats), so it falls
into every gap between two of them. ``STENOBUS_KILL_RUNS`` sets the number of runs, ``STENOBUS_KILL_SEED`` the places.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.errors import Error as NatsError

from stenobus_bus import Bus, EmbeddedServer, Envelope, apply
from stenobus_bus.dead_letters import letters
from stenobus_bus.history import read
from stenobus_contracts import DocReady, Media, MediaUploaded
from stenobus_core import CoreSettings
from stenobus_core.discovery import discover
from stenobus_core.services import topology

from ..support.wire import Wire

RUNS = int(os.environ.get("STENOBUS_KILL_RUNS", "2"))
SEED = int(os.environ.get("STENOBUS_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
RUN_DEADLINE = 300.0
RECORDING = Path(__file__).parents[2] / "examples" / "recording" / "disk-full.ogg"


class Fleet:
    """One process per plugin."""

    def __init__(self, bus: Bus, names: list[str], environment: dict[str, str], log: Path) -> None:
        self.names = names
        self._bus, self._environment, self._log = bus, environment, log
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        with self._log.open("ab") as output:
            self._processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from stenobus_core.cli import main; main()", "up", name,
                env=self._environment, stdout=output, stderr=output,
            )  # fmt: skip

    async def ready(self, name: str) -> None:
        async with asyncio.timeout(RUN_DEADLINE):
            while True:
                with contextlib.suppress(NatsError):
                    answer = await self._bus.nc.request(f"stenobus.ready.{name}", timeout=0.5)
                    if b'"ready": true' in answer.data:
                        return

    async def kill(self, name: str) -> None:
        process = self._processes[name]
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        async with asyncio.timeout(RUN_DEADLINE):
            await asyncio.gather(*(process.wait() for process in self._processes.values()))


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    server = EmbeddedServer(tmp_path / "nats", port=0)
    async with await Bus.connect(await server.start()) as connected:
        await apply(connected, topology("stenobus"))
        yield connected
    await server.stop()


@pytest.fixture
async def fleet(bus: Bus, tmp_path: Path) -> AsyncIterator[Fleet]:
    names = sorted(discover(CoreSettings()).plugins)
    environment = os.environ | {
        "STENOBUS_NATS_URL": bus.nc.connected_url.geturl(),
        "STENOBUS_DATA_DIR": str(tmp_path),
        "STENOBUS_ACK_WAIT": "2",
        "STENOBUS_CACHE": "false",  # every run must do the whole work
        "STENOBUS_ASR_WORKERS": "1",
    }
    started = Fleet(bus, names, environment, tmp_path / "plugins.log")
    await asyncio.gather(*(started.start(name) for name in names))
    await asyncio.gather(*(started.ready(name) for name in names))
    yield started
    await started.stop()


def _clip(target: Path, seconds: float = 14.0) -> Path:
    """The beginning of the bundled recording, as WAV."""
    import av

    with av.open(str(RECORDING)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream("pcm_s16le", rate=16000, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
        for frame in source.decode(audio=0):
            if frame.time is not None and frame.time > seconds:
                break
            for part in resampler.resample(frame):
                sink.mux(stream.encode(part))
        sink.mux(stream.encode(None))
    return target


async def _publish(bus: Bus, media: Media, run: str) -> None:
    event = MediaUploaded(media=media, title="A killed talk")
    await bus.publish(event, Envelope.new(event, "kill-test", run=run))


async def _documents(bus: Bus, run: str) -> list[DocReady]:
    return [DocReady.model_validate_json(event.data) async for event in read(bus, "DOC", "doc.ready", run=run)]


async def _finished(bus: Bus, run: str) -> list[DocReady]:
    """The documents of a run, once there is one and the knowledge base has it."""
    async with asyncio.timeout(RUN_DEADLINE):
        arrived = asyncio.Event()

        async def note(_: object) -> None:
            arrived.set()

        subscription = await bus.nc.subscribe("kb.synced", cb=note)
        while not [event async for event in read(bus, "KB", "kb.synced", run=run)]:
            arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await arrived.wait()
        await subscription.unsubscribe()
    return await _documents(bus, run)


@pytest.mark.timeout(RUN_DEADLINE * (RUNS + 2))
async def test_a_plugin_killed_anywhere_changes_nothing(bus: Bus, fleet: Fleet, tmp_path: Path) -> None:
    print(f"seed {SEED}, {RUNS} runs")
    dice = random.Random(SEED)
    media = Media(uri=_clip(tmp_path / "talk.wav").as_uri(), name="talk.wav")
    wire = Wire()
    await wire.watch(bus)

    wire.mark(-1)
    began = time.monotonic()
    await _publish(bus, media, "undisturbed")
    (expected,) = await _finished(bus, "undisturbed")
    messages, seconds = wire.count, [time.monotonic() - began]

    results, kills = [], 0
    for number in range(RUNS):
        run = f"killed-{number}"
        victims = [fleet.names[number % len(fleet.names)], *dice.sample(fleet.names, 2)]
        places = sorted(dice.randrange(1, messages) for _ in victims)
        ending = asyncio.create_task(_finished(bus, run))
        wire.mark(places[0])
        began = time.monotonic()
        await _publish(bus, media, run)
        for victim, place in zip(victims, places, strict=True):
            wire.mark(max(1, place - wire.count))
            reached = asyncio.create_task(wire.reached.wait())
            await asyncio.wait({reached, ending}, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            await fleet.kill(victim)
            await fleet.start(victim)
            kills += 1
        results.append(await ending)
        seconds.append(time.monotonic() - began)

    print(f"{kills} kills in {RUNS} runs of about {messages} messages; seconds of the undisturbed run and the others:")
    print(" ".join(f"{each:.1f}" for each in seconds))
    assert [len(documents) for documents in results] == [1] * RUNS, "lost or duplicate documents"
    for (document,) in results:
        assert document.markdown.sha256 == expected.markdown.sha256
        assert document.docx.sha256 == expected.docx.sha256
        assert document.transcript.sha256 == expected.transcript.sha256
    assert [entry async for entry in letters(bus)] == []
