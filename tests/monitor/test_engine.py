"""Faults in real containers on a real engine: what the collectors see, and what the rules make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stenobus_monitor.collectors.engine import EngineCollector
from stenobus_monitor.collectors.logs import LogCollector
from stenobus_monitor.collectors.usage import UsageCollector
from stenobus_monitor.engine import Engine
from stenobus_monitor.errors import EngineUnavailable, NoSuchContainer
from stenobus_monitor.findings import Finding, Trouble
from stenobus_monitor.observations import (
    ContainerDied,
    ContainerGone,
    ContainerSeen,
    ContainerUsage,
    LogSeen,
    Observation,
)
from stenobus_monitor.rules import Rule
from stenobus_monitor.rules.deaths import Deaths
from stenobus_monitor.rules.health import Health
from stenobus_testing import eventually

from .conftest import SOCKET, Containers

EAT = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'"


@pytest.fixture
async def engine(engine_client: Any) -> AsyncIterator[Engine]:
    engine = Engine(str(SOCKET))
    yield engine
    await engine.close()


class Eyes:
    """A collector that looks, and rules that see and hear the time."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.seen: list[Observation] = []
        self.found: list[Finding] = []

    async def emit(self, seen: Observation) -> None:
        self.seen.append(seen)
        self.found += [finding for rule in self.rules for finding in rule.observe(seen)]

    def tick(self) -> list[str]:
        """Let the rules hear what time it is, and say what was found until now."""
        self.found += [finding for rule in self.rules for finding in rule.tick(datetime.now(UTC))]
        return self.kinds

    @property
    def kinds(self) -> list[str]:
        return [each.kind if isinstance(each, Trouble) else f"recovered {each.cause}" for each in self.found]

    def of(self, kind: type[Observation]) -> list[Any]:
        return [each for each in self.seen if isinstance(each, kind)]


@pytest.fixture
async def eyes(engine: Engine, containers: Containers) -> AsyncIterator[Eyes]:
    """Rules that see what happens to the test's containers from here on."""
    eyes = Eyes(Deaths(), Health())
    collector = EngineCollector(engine, (f"{containers.prefix}-*",), every=1)
    looking = asyncio.create_task(collector.run(eyes.emit))
    yield eyes
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_the_kernel_kills_the_first_process(eyes: Eyes, containers: Containers) -> None:
    containers.run("eats", f"exec {EAT}", mem_limit="16m", memswap_limit="16m")
    await eventually(lambda: "container.oom" in eyes.tick())
    assert "container.crashed" not in eyes.kinds and "container.child_oom" not in eyes.kinds
    trouble = next(each for each in eyes.found if isinstance(each, Trouble))
    assert any("want of memory" in line.text and line.kind == "event" for line in trouble.evidence)


async def test_the_kernel_kills_a_child_and_the_container_lives_on(eyes: Eyes, containers: Containers) -> None:
    container = containers.run("parent", f"{EAT}; echo survived; sleep 1000", mem_limit="16m", memswap_limit="16m")
    await eventually(lambda: "container.child_oom" in eyes.tick())
    container.reload()
    assert container.status == "running"
    assert eyes.kinds == ["container.child_oom"]


async def test_a_crash_loop_of_the_engine_s_own_restarts(eyes: Eyes, containers: Containers) -> None:
    containers.run("loops", "exit 7", restart_policy={"Name": "on-failure", "MaximumRetryCount": 4})
    await eventually(lambda: "container.crash_loop" in eyes.kinds)
    assert eyes.kinds[:3] == ["container.crashed", "container.crashed", "container.crash_loop"]


async def test_a_health_check_fails_and_passes_again(eyes: Eyes, containers: Containers) -> None:
    second = 1_000_000_000
    check = {"test": ["CMD", "/bin/test", "-e", "/well"], "interval": second, "retries": 2, "timeout": 5 * second}
    container = containers.run("checked", "touch /well; sleep 1000", healthcheck=check)
    await eventually(lambda: eyes.seen and container.exec_run("/bin/test -e /well").exit_code == 0)
    container.exec_run("rm /well")
    await eventually(lambda: "container.unhealthy" in eyes.kinds)
    container.exec_run("touch /well")
    await eventually(lambda: "recovered health" in eyes.kinds)


async def test_a_restart_and_a_stop_by_somebody_are_no_crash(eyes: Eyes, containers: Containers) -> None:
    container = containers.run("told", "trap 'exit 1' TERM; while true; do sleep 0.05; done")
    await eventually(lambda: eyes.of(ContainerSeen))
    container.restart(timeout=5)
    container.kill()
    await eventually(lambda: len(eyes.of(ContainerDied)) == 2)
    assert eyes.tick() == []
    container.remove()
    await eventually(lambda: eyes.of(ContainerGone))
    assert eyes.kinds == []


async def test_what_happened_while_nobody_looked_is_heard_afterwards(engine: Engine, containers: Containers) -> None:
    collector = EngineCollector(engine, (f"{containers.prefix}-*",), since=datetime.now(UTC).timestamp())
    containers.run("short", "echo last words; exit 4").wait(timeout=60)
    eyes = Eyes(Deaths())
    looking = asyncio.create_task(collector.run(eyes.emit))
    (died,) = await eventually(lambda: eyes.of(ContainerDied))
    assert (died.exit_code, died.log) == (4, ("last words",))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert eyes.kinds == ["container.crashed"]  # the event and the look at everything tell of one death


async def test_a_stream_of_events_that_breaks_is_taken_up_where_it_broke(
    engine_client: Any, containers: Containers, tmp_path: Path
) -> None:
    between = tmp_path / "engine.sock"
    relay = Relay(between)
    await relay.start()
    engine = Engine(str(between))
    eyes = Eyes(Deaths())
    collector = EngineCollector(engine, (f"{containers.prefix}-*",), every=1000)
    looking = asyncio.create_task(collector._follow(eyes.emit))
    try:
        await eventually(lambda: relay.open)
        await relay.stop()
        await eventually(lambda: not relay.open)
        containers.run("meanwhile", "exit 5").wait(timeout=60)
        await relay.start()
        (died,) = await eventually(lambda: eyes.of(ContainerDied))
        assert died.exit_code == 5
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await engine.close()
        await relay.stop()


class Relay:
    """A socket in front of the engine's, which can be taken away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.open = 0

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, up = await asyncio.open_unix_connection(SOCKET)
        self.open += 1
        self._writers |= {writer, up}
        tasks = [asyncio.create_task(_pump(reader, up)), asyncio.create_task(_pump(upstream, writer))]
        self._tasks |= set(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, up):
            each.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks -= set(tasks)
        self._writers -= {writer, up}
        self.open -= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_memory_and_logs_of_a_container(engine: Engine, containers: Containers) -> None:
    script = "for i in 1 2 3 4 5; do echo 'ERROR request '$i' failed'; echo fine >&2; done; sleep 1000"
    containers.run("talks", script, mem_limit="64m")
    eyes = Eyes()
    names = (f"{containers.prefix}-*",)
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    looking = [
        asyncio.create_task(UsageCollector(engine, names, every=0.2).run(eyes.emit)),
        asyncio.create_task(LogCollector(engine, names, every=0.2, clock=lambda: begin).run(eyes.emit)),
    ]
    try:
        await eventually(lambda: sum(each.count for seen in eyes.of(LogSeen) for each in seen.lines) == 10)
        await eventually(lambda: any(each.cores is not None for each in eyes.of(ContainerUsage)))
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    usage = eyes.of(ContainerUsage)[-1]
    assert usage.memory_limit == 64 * 2**20 and 0 < usage.memory < usage.memory_limit
    errors = {each.template: each.level for seen in eyes.of(LogSeen) for each in seen.lines}
    assert errors == {"ERROR request <num> failed": "error", "fine": ""}


async def test_nothing_of_the_environment_and_no_argument_is_kept(engine: Engine, containers: Containers) -> None:
    labels = {
        "stenobus.plugin": "asr",
        "stenobus.token": "planted",
        "com.docker.compose.project": "p",
        "other": "planted",
    }
    container = containers.run("secret", "sleep 1000; : planted", environment={"KEY": "planted"}, labels=labels)
    found = await engine.inspect(container.id)
    assert dict(found.labels) == {"stenobus.plugin": "asr", "com.docker.compose.project": "p"}
    assert found.plugins == ("asr",) and found.project == "p"
    assert "planted" not in repr(found)


async def test_who_is_not_there_is_said_in_one_sentence(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NoSuchContainer):
        await engine.inspect("nobody-of-this-name")
    with pytest.raises(NoSuchContainer):
        await engine.inspect("../version")
    nobody = Engine(str(tmp_path / "nobody.sock"))
    with pytest.raises(EngineUnavailable, match="STENOBUS_MONITOR_ENGINE"):
        await nobody.containers()
    await nobody.close()
