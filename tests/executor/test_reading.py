"""What those who look get to see: the monitor's own client and docker-py work, and no secret passes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import docker
import pytest

from stenobus_executor.passing import event, known_labels, passing
from stenobus_executor.rules import Rules
from stenobus_monitor.collectors.engine import EngineCollector
from stenobus_monitor.engine import Engine
from stenobus_monitor.errors import EngineUnavailable, NoSuchContainer
from stenobus_monitor.observations import ContainerDied, ContainerSeen, Observation
from stenobus_testing import eventually

from ..support.containers import SOCKET, Containers
from .conftest import Executor, Start

SECRET = "hunter2-and-more"
FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture
async def client(executor: Executor) -> AsyncIterator[Engine]:
    """The monitor's own."""
    client = Engine(str(executor.socket))
    yield client
    await client.close()


def run_with_secrets(containers: Containers, name: str = "app", script: str = FOREVER) -> Any:
    return containers.run(
        name,
        f": {SECRET}; {script}",
        environment={"PASSWORD": SECRET},
        labels={
            "com.docker.compose.service": "app",
            "com.docker.compose.config-hash": SECRET,
            "stenobus.plugin": "app",
            "stenobus.token": SECRET,
            "traefik.auth": SECRET,
        },
        volumes={f"/tmp/{SECRET}": {"bind": f"/{SECRET}", "mode": "ro"}},
        healthcheck={"test": ["CMD-SHELL", f": {SECRET}"], "interval": 1_000_000_000},
        mem_limit="64m",
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
    )


async def test_the_monitor_reads_through_it_what_it_reads_from_the_engine(
    client: Engine, containers: Containers
) -> None:
    app = run_with_secrets(containers)
    direct = Engine(str(SOCKET))
    seen, said = await client.inspect(app.name), await direct.inspect(app.id)
    assert (seen.name, seen.labels, seen.memory_limit, seen.restart_policy, seen.image, seen.digest, seen.started) == (
        said.name,
        {"com.docker.compose.service": "app", "stenobus.plugin": "app"},
        64 * 1024**2,
        "on-failure",
        said.image,
        said.digest,
        said.started,
    )
    assert [each["Id"] for each in await client.containers()] == [app.id]
    assert (await client.stats(app.id))["memory_stats"]["limit"] == 64 * 1024**2
    assert (await client.version())["SystemTime"]
    await direct.close()


async def test_the_monitors_collector_lives_on_it(client: Engine, containers: Containers) -> None:
    seen: list[Observation] = []

    async def emit(observation: Observation) -> None:
        seen.append(observation)

    looking = asyncio.create_task(EngineCollector(client, every=1).run(emit))
    app = containers.run("dies", "while [ ! -e /go ]; do sleep 0.05; done; echo last words; exit 3")
    await eventually(lambda: any(isinstance(each, ContainerSeen) for each in seen), within=60)
    app.exec_run("touch /go")
    (died,) = await eventually(lambda: [each for each in seen if isinstance(each, ContainerDied)], within=60)
    assert (died.container.name, died.exit_code, died.log) == (app.name, 3, ("last words",))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_docker_py_reads_through_it(executor: Executor, containers: Containers) -> None:
    app = containers.run("app", "echo hello; exec sleep 1000")

    def look() -> None:
        client = docker.DockerClient(base_url=f"unix://{executor.socket}")
        try:
            assert client.ping()
            assert client.version()["Version"]
            (found,) = client.containers.list()
            assert (found.id, found.name, found.status) == (app.id, app.name, "running")
            assert found.logs(tail=10) == b"hello\n"
            assert found.stats(stream=False)["memory_stats"]["usage"] > 0
            events = client.events(
                decode=True, since=1, until=int(client.api.info()["SystemTime"] > "") + 2_000_000_000
            )
            assert next(events)["Type"] == "container"
            events.close()
            for forbidden in (found.stop, found.kill, found.remove, client.images.list):
                with pytest.raises(docker.errors.APIError, match="no such call"):
                    forbidden()
        finally:
            client.close()

    await asyncio.to_thread(look)


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.41", "/v1.51"])
async def test_the_version_in_a_path_is_as_good_as_none(executor: Executor, prefix: str) -> None:
    for path in ("/_ping", "/version", "/info", "/containers/json"):
        assert (await executor.ask("GET", prefix + path)).status == 200


async def test_no_secret_passes(executor: Executor, containers: Containers) -> None:
    app = run_with_secrets(containers)
    app.exec_run(["sh", "-c", f": {SECRET}"])
    await eventually(lambda: app.client.api.inspect_container(app.id)["State"]["Health"]["Log"], within=60)
    app.kill()
    app.wait(timeout=60)
    assert SECRET in json.dumps(app.client.api.inspect_container(app.id))
    answers = [
        await executor.ask("GET", target)
        for target in (
            "/containers/json?all=1",
            f"/containers/{app.name}/json",
            f"/containers/{app.id}/stats?stream=0",
            "/info",
            "/version",
            f"/events?since=1&until={int(time.time()) + 1}",
        )
    ]
    for answer in answers:
        assert answer.status == 200 and SECRET.encode() not in answer.body
    assert app.name.encode() in answers[0].body and app.name.encode() in answers[1].body


async def test_events_say_nothing_that_is_secret(executor: Executor, containers: Containers) -> None:
    client = Engine(str(executor.socket))
    app = run_with_secrets(containers)
    app.exec_run(["sh", "-c", f": {SECRET}"])
    app.kill()
    seen = []
    async with aclosing(client.events({"type": ["container"]}, since=1.0)) as events, asyncio.timeout(60):
        async for each in events:
            seen.append(each)
            if each["Action"] == "die" and each["Actor"]["Attributes"]["name"] == app.name:
                break
    ours = [each for each in seen if each["Actor"]["ID"] == app.id]
    assert [each["Action"] for each in ours if "health" not in each["Action"]] == ["create", "start", "kill", "die"]
    assert ours[-1]["Actor"]["Attributes"]["exitCode"] == "137"
    assert ours[-1]["Actor"]["Attributes"]["stenobus.plugin"] == "app"
    assert all(each["Actor"]["Attributes"]["name"].startswith(containers.prefix) for each in seen)
    assert SECRET not in json.dumps(seen)
    await client.close()


async def test_containers_of_others_do_not_exist(start: Start, containers: Containers) -> None:
    ours, other = containers.run("ours", FOREVER), containers.run("other", f"echo {SECRET}; {FOREVER}")
    executor = await start(Rules(visible=(ours.name,), touchable=("*",)))
    client = Engine(str(executor.socket))
    assert [each["Id"] for each in await client.containers()] == [ours.id]
    for name in (other.name, other.id, other.id[:12]):
        for asked in (client.inspect(name), client.logs(name), client.stats(name)):
            with pytest.raises(NoSuchContainer):
                await asked
        refused, absent = await executor.restart(name), await executor.restart(f"{name}x")
        assert refused.status == absent.status == 404
        assert refused.message == f"No such container: {name}"
    assert executor.audit[0]["allowed"] is False
    events = client.events({"event": ["kill"]}, since=1.0)
    other.kill()
    ours.kill()
    async with aclosing(events), asyncio.timeout(60):
        assert (await anext(events))["Actor"]["ID"] == ours.id
    await client.close()


async def test_an_engine_that_is_away_is_no_mystery(start: Start, tmp_path: Any) -> None:
    executor = await start(Rules(), engine=tmp_path / "none.sock")
    answer = await executor.ask("GET", "/containers/json")
    assert (answer.status, answer.message) == (502, "The engine does not answer (FileNotFoundError).")
    client = Engine(str(executor.socket))
    with pytest.raises(EngineUnavailable):
        await client.containers()
    with pytest.raises(EngineUnavailable):
        await anext(client.events({}))
    await client.close()


def test_only_what_is_named_passes() -> None:
    everything = {"Id": "a", "Env": [SECRET], "Config": {"Env": [SECRET], "Tty": True}, "HostConfig": [SECRET]}
    assert passing("json", everything) == {"Id": "a", "Config": {"Tty": True, "Labels": {}}}
    assert known_labels({"stenobus.api_key": SECRET, "stenobus.needs": "nats", "other": SECRET}) == {
        "stenobus.needs": "nats"
    }
    said = {"Type": "container", "Action": f"exec_start: {SECRET}", "Actor": {"ID": "a", "Attributes": {"name": "a"}}}
    assert event(said) is None
    assert event(said | {"Type": "network", "Action": "start"}) is None
    disguised = {"name": "a", "exitCode": SECRET, "signal": SECRET.lower(), "execID": SECRET}
    found = event(said | {"Action": "die", "Actor": {"ID": "a", "Attributes": disguised}, "from": SECRET})
    assert found is not None and found["Actor"]["Attributes"] == {"name": "a"} and SECRET not in json.dumps(found)


def test_names_of_networks_pass_and_addresses_there_do_not() -> None:
    networks = {"bus": {"IPAddress": "172.18.0.2", "Aliases": ["a"]}}
    assert passing("json", {"NetworkSettings": {"Networks": networks}})["NetworkSettings"] == {"Networks": {"bus": {}}}
    assert passing("json", {"NetworkSettings": {"Networks": {}}})["NetworkSettings"] == {"Networks": {}}
    assert "NetworkSettings" not in passing("json", {"NetworkSettings": {"Networks": "bus"}})
