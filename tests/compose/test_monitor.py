"""The profile monitor: the monitor reads through the executor, which alone holds the engine's socket and guards it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from stenobus_testing.waiting import eventually

from ..support.engine import UID, Stack, base_image, engine

SOON = 120.0
#: Runs in the monitor's container: asks the executor, with an approval if there is one.
ASK = """
import http.client, json, socket, sys

method, target, action, approval = sys.argv[1:]
connection = http.client.HTTPConnection("executor", timeout=60)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/stenobus/executor.sock")
headers = {"X-Stenobus-Action": action} | ({"X-Stenobus-Approval": approval} if approval else {})
connection.request(method, target, headers=headers)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""
#: Runs where approvals are signed.
SIGN = """
import sys, time
from pathlib import Path
from stenobus_executor.approval import issue, read_key

print(issue(read_key(Path("/run/secrets/approval")), *sys.argv[1:], time.time() + 60))
"""
#: Runs in the monitor's container: signs with whatever it can read that might be a key.
FORGE = """
import os, sys, time
from pathlib import Path
from stenobus_executor.approval import ApprovalRefused, issue

found = set(map(str.encode, os.environ.values()))
for place in ("/run", "/etc/stenobus", "/data", "/tmp", "/proc/1/environ", "/opt/stenobus/etc"):
    for path in [Path(place), *Path(place).rglob("*")]:
        if path.is_file():
            try:
                content = path.read_bytes()[:65536]
            except OSError:
                continue
            found |= {content.strip(), *content.split(), *content.split(b"\\0")}
for key in found:
    try:
        print(issue(key, *sys.argv[1:], time.time() + 60))
    except ApprovalRefused:
        pass
"""


@pytest.fixture(scope="module")
def watched() -> Iterator[Stack]:
    """A stack of its own, with the profile and nothing else asked for."""
    client = engine()
    with TemporaryDirectory(prefix="stenobus-") as folder:
        environment = {"COMPOSE_PROFILES": "monitor"}
        stack = Stack(Path(folder), "stenobus-watched", base_image(client), environment, client)
        try:
            stack.run("up", timeout=1400)
            yield stack
        finally:
            stack.run("down", "--volumes")
            assert stack.remains() == []


def ask(stack: Stack, method: str, target: str, action: str = "act", approval: str = "") -> tuple[int, str]:
    """What the executor answers to the monitor's container."""
    code, said = stack.container("monitor").exec_run(["python3", "-c", ASK, method, target, action, approval])
    assert code == 0, said
    status, body = json.loads(said)
    return status, body


def restart(stack: Stack, service: str, approved: bool = False, action: str = "act") -> tuple[int, str]:
    name = stack.container(service).name
    return ask(stack, "POST", f"/containers/{name}/restart?t=5", action, sign(stack, action, name) if approved else "")


def sign(stack: Stack, action: str, target: str) -> str:
    """A person's word for a restart."""
    code, said = stack.container("monitor-api").exec_run(["python3", "-c", SIGN, action, "restart", target])
    assert code == 0, said
    return str(said.decode().strip())


def test_the_executor_is_nobody_special_and_alone(watched: Stack) -> None:
    executor = watched.container("executor")
    host = executor.attrs["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert executor.attrs["Config"]["User"] == f"{UID}:{UID}"
    facts = dict(
        line.split(":\t", 1)
        for line in executor.exec_run(["cat", "/proc/1/status"]).output.decode().splitlines()
        if ":\t" in line
    )
    assert set(facts["Uid"].split("\t")) == {str(UID)} and int(facts["CapEff"], 16) == 0
    holders = {
        each.labels["com.docker.compose.service"]
        for each in watched.containers()
        if any("docker.sock" in mount["Destination"] for mount in each.attrs["Mounts"])
    }
    assert holders == {"executor"}
    assert executor.exec_run(["ls", "-l", "/run/stenobus/executor.sock"]).output.startswith(b"srw-rw---- ")
    assert executor.exec_run(["stenobus-executor", "--check"]).exit_code == 0
    assert executor.exec_run(["ls", "/run/secrets"]).output.split() == [b"approval"]
    running = [each for each in watched.containers() if each.status == "running"]
    approving = {each.name for each in running if b"approval" in each.exec_run(["ls", "/run/secrets"]).output}
    assert approving == {executor.name, watched.container("monitor-api").name}


def test_whoever_takes_the_monitor_over_approves_nothing(watched: Stack) -> None:
    target = watched.container("nats").name
    check = f"/approvals/check?kind=restart&target={target}"
    assert ask(watched, "GET", check, approval=sign(watched, "act", target))[0] == 200
    code, said = watched.container("monitor").exec_run(["python3", "-c", FORGE, "act", "restart", target])
    forged = said.decode().split()
    assert code == 0 and 2 <= len(forged) < 30, forged  # its keys of the server among them
    for token in forged:
        assert ask(watched, "GET", check, approval=token)[0] == 403
    code, said = watched.container("monitor").exec_run(["stenobus", "monitor", "approve", "none"])
    assert code != 0


def test_the_executors_image_holds_python_and_itself(watched: Stack) -> None:
    image = watched.image("executor")
    print(f"stenobus-executor     {image.attrs['Size'] / 1e6:4.0f} MB")
    assert image.attrs["Size"] < 300e6
    assert image.attrs["Config"]["User"] == f"{UID}:{UID}"
    code, said = watched.container("executor").exec_run(["sh", "-c", "ls -d /opt/*/lib/python3*/site-packages/*"])
    packages = {Path(line).name for line in said.decode().split()}
    assert code == 0 and {name for name in packages if "dist-info" not in name} == {"stenobus_executor"}


def test_the_monitor_sees_the_containers_and_no_secret_of_theirs(watched: Stack) -> None:
    status, body = ask(watched, "GET", "/containers/json?all=1")
    seen = {each["Names"][0].lstrip("/") for each in json.loads(body)}
    assert status == 200 and seen == {each.name for each in watched.containers()}
    for service in ("llm", "nats"):
        container = watched.container(service)
        status, body = ask(watched, "GET", f"/containers/{container.id}/json")
        said = json.loads(body)
        assert status == 200 and said["State"]["Status"] == "running"
        assert "Env" not in said["Config"] and "Mounts" not in said
        assert said["Config"]["StopTimeout"] == 30  # what Compose says of it reaches whoever restarts it
        assert said["Config"]["Labels"]["com.docker.compose.service"] == service


def test_the_executor_refuses_what_it_must(watched: Stack) -> None:
    name = watched.container("llm").name
    for method, target in (
        ("POST", f"/containers/{name}/stop"),
        ("POST", f"/containers/{name}/exec"),
        ("DELETE", f"/containers/{name}"),
        ("GET", "/images/json"),
        ("GET", f"/containers/{name}/archive?path=/"),
    ):
        assert ask(watched, method, target)[0] == 403
    status, said = restart(watched, "executor", approved=True)
    assert status == 403 and "itself" in said
    for service in ("nats", "monitor"):
        status, said = restart(watched, service)
        assert status == 403 and "protected" in said
    assert restart(watched, "caretaker")[0] == 403  # runs no plugin
    audit = [json.loads(line) for line in watched.container("executor").logs().decode().splitlines()]
    refused = [line for line in audit if not line["allowed"]]
    assert {line["status"] for line in refused} == {403}
    assert any(line["name"] == watched.container("nats").name and "protected" in line["why"] for line in refused)


async def test_the_executor_restarts_a_plugin_and_with_an_approval_the_server(watched: Stack) -> None:
    for service, approved in (("documents-map", False), ("nats", True)):
        container = watched.container(service)
        before = container.attrs["State"]["StartedAt"]
        assert restart(watched, service, approved, f"act-{service}")[0] == 204
        container.reload()
        assert container.attrs["State"]["StartedAt"] != before
    assert restart(watched, "nats", True, "act-nats")[0] in {403, 409}  # starting, or used before

    def well() -> bool:
        watched.container("nats").reload()
        return bool(watched.container("nats").attrs["State"]["Health"]["Status"] == "healthy")

    await eventually(well, SOON)
    status, said = restart(watched, "nats", True, "act-nats")
    assert status == 409 and "used before" in said


async def test_a_killed_plugin_becomes_an_incident(watched: Stack) -> None:
    component = f"container:{watched.container('documents-clean').name}"

    def incidents() -> list[dict[str, Any]]:
        command = ["stenobus", "monitor", "incidents", "--all", "--json"]
        code, (said, _) = watched.container("monitor").exec_run(command, demux=True)
        return list(json.loads(said)) if code == 0 else []

    def crashed() -> bool:
        return any((each["kind"], each["component"]) == ("container.crashed", component) for each in incidents())

    assert not crashed()
    watched.kill("documents-clean")
    await eventually(crashed, SOON)


async def test_incidents_over_http_are_for_whoever_has_a_key(watched: Stack) -> None:
    key = watched.key("monitor-api", "monitor", "keys", "add", "portal", "--scope", "read")
    answer = await watched.asks(watched.monitor_api_port, "/v1/incidents?status=all", key)
    assert answer.status_code == 200, answer.text
    assert "container.crashed" in {each["kind"] for each in answer.json()["incidents"]}
    assert (await watched.asks(watched.monitor_api_port, "/v1/incidents")).status_code == 401
