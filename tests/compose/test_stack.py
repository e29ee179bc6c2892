"""A transcript becomes a searchable document in containers, whatever happens to one of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Access, Bus, Envelope
from stenobus_bus.connection import ApiError
from stenobus_contracts import AsrDone, DocReady, Event
from stenobus_testing.waiting import eventually

from ..support.engine import UID, Stack

TRANSCRIPT = Path(__file__).parents[2] / "examples" / "recording" / "disk-full.json"
RUN = 120.0


@pytest.fixture
async def operator(stack: Stack) -> AsyncIterator[Bus]:
    """The operator, outside of the containers."""
    async with await Bus.connect(stack.url, access=Access(stack.credentials("operator"))) as bus:
        yield bus


async def publish(stack: Stack, operator: Bus, title: str) -> Envelope:
    """A producer's event; its user may publish and nothing else, so somebody else has stored the transcript."""
    transcript = await operator.objects.put(TRANSCRIPT.read_bytes(), "application/json")
    event = AsrDone(transcript=transcript, title=title)
    async with await Bus.connect(stack.url, access=Access(stack.credentials("producer"))) as producer:
        envelope = Envelope.new(event, "test")
        await producer.publish(event, envelope)
    return envelope


async def last(operator: Bus, contract: type[Event]) -> Any:
    """The event that was published last, or None."""
    stream = contract.subject.partition(".")[0].upper()
    try:
        found = await operator.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": contract.subject})
    except ApiError:
        return None
    return found["message"]


async def document(operator: Bus, after: int) -> dict[str, Any]:
    """The message of the next finished document."""

    async def finished() -> Any:
        message = await last(operator, DocReady)
        return message if message and message["seq"] > after else None

    found: dict[str, Any] = await eventually(finished, RUN)
    return found


async def place(operator: Bus) -> int:
    """Up to where documents are finished already."""
    message = await last(operator, DocReady)
    return int(message["seq"]) if message else 0


def titles(stack: Stack, words: str) -> list[str]:
    """Titles of the documents that a search in the container finds."""
    code, (said, _) = stack.container("kb").exec_run(["stenobus", "search", words, "--json"], demux=True)
    return [hit["title"] for hit in json.loads(said)["results"]] if code == 0 else []


async def test_a_transcript_from_outside_becomes_a_document_that_is_found(stack: Stack, operator: Bus) -> None:
    before = await place(operator)
    await publish(stack, operator, "A full disk in containers")
    await document(operator, before)
    await eventually(lambda: "A full disk in containers" in titles(stack, "how do I free the disk space?"), RUN)


async def test_whoever_has_a_key_searches_over_http_and_nobody_else(stack: Stack) -> None:
    """The service of the profile `api` as its documentation says: a key first, then the service."""
    path = "/v1/search?q=disk"
    key = stack.key("kb", "kb", "keys", "add", "app", "--collection", "documents")
    stack.compose("up", "--detach", "--no-deps", "kb-api")
    try:
        found = await stack.asks(stack.api_port, path, key)
        assert found.status_code == 200, found.text
        assert "A full disk in containers" in {hit["title"] for hit in found.json()["results"]}
        for wrong in (None, "stk_0123456789ab_wrong"):
            assert (await stack.asks(stack.api_port, path, wrong)).status_code == 401
    finally:
        stack.compose("rm", "--stop", "--force", "kb-api")


async def test_a_killed_plugin_comes_back_and_its_run_is_completed(stack: Stack, operator: Bus) -> None:
    before, writer = await place(operator), stack.container("documents-write")
    restarts = writer.attrs["RestartCount"]
    stack.kill("documents-write")
    await publish(stack, operator, "A disk that was full while the writer was dead")
    await document(operator, before)
    writer.reload()
    assert writer.attrs["State"]["Running"]
    assert writer.attrs["RestartCount"] == restarts + 1


@pytest.mark.parametrize("service", ["nats", "llm", "kb", "documents-write"])
def test_a_service_is_nobody_special_on_a_root_that_nobody_can_change(stack: Stack, service: str) -> None:
    container = stack.container(service)
    host = container.attrs["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Memory"] > 0 < host["NanoCpus"]
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert container.attrs["Config"]["User"] == f"{UID}:{UID}"

    for path in ("/written", "/opt/stenobus/written", "/usr/local/bin/written", "/etc/written"):
        said = container.exec_run(["sh", "-c", f"echo x > {path}"])
        assert said.exit_code != 0, path
    assert container.exec_run(["sh", "-c", "echo x > /tmp/written && rm /tmp/written"]).exit_code == 0
    status = container.exec_run(["cat", "/proc/1/status"]).output.decode()
    facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert set(facts["Uid"].split("\t")) == {str(UID)}
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


def test_a_plugin_has_its_own_secret_and_sees_no_other(stack: Stack) -> None:
    for service in ("llm", "kb", "documents-write"):
        container = stack.container(service)
        assert container.exec_run(["ls", "/run/secrets"]).output.split() == [service.encode()]
        seed = stack.credentials(service).read_text().strip()
        assert seed.startswith("SU")
        assert seed not in json.dumps(container.attrs)
    folder = stack.folder / "state" / "users" / "credentials"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stat().st_uid for path in folder.iterdir()} == {UID}


def test_the_monitoring_port_answers_on_its_own_network_only(stack: Stack) -> None:
    ask = ["python3", "-I", "-S", "/usr/local/lib/stenobus/ready.py", "http://{}:8222/healthz"]
    server = stack.container("nats")
    networks = server.attrs["NetworkSettings"]["Networks"]
    for name, network in networks.items():
        answer = server.exec_run([*ask[:-1], ask[-1].format(network["IPAddress"])])
        assert (answer.exit_code == 0) == name.endswith("_watch"), (name, answer.output)
    assert set(server.attrs["NetworkSettings"]["Ports"]) == {"4222/tcp"}
    assert server.attrs["NetworkSettings"]["Ports"]["4222/tcp"][0]["HostIp"] == "127.0.0.1"


def test_the_operator_looks_at_the_stack_with_the_command(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "-T", "cli", "status")
    for service in ("llm", "kb", "documents-clean", "documents-write"):
        assert service in said


def test_bringing_it_up_again_changes_nothing_and_keeps_the_keys(stack: Stack) -> None:
    restarts = stack.container("nats").attrs["RestartCount"]
    started = {container.name: container.attrs["State"]["StartedAt"] for container in stack.containers()}
    key = stack.credentials("kb").read_text()
    stack.run("up")
    assert stack.credentials("kb").read_text() == key
    again = {container.name: container.attrs["State"]["StartedAt"] for container in stack.containers()}
    changed = {name for name in started if again[name] != started[name]}
    assert changed <= {container.name for container in stack.containers("apply")}
    assert stack.container("nats").attrs["RestartCount"] == restarts


async def test_the_server_took_new_users_over_and_comes_back_from_a_crash(stack: Stack) -> None:
    stack.environment["STENOBUS_PUBLISHER"] = "crm:asr.done"
    stack.run("users")
    server = stack.container("nats")
    started = server.attrs["State"]["StartedAt"]
    async with await Bus.connect(stack.url, access=Access(stack.credentials("crm"))):
        pass  # it is let in
    stack.kill("nats")

    def is_back() -> bool:
        server.reload()
        state = server.attrs["State"]
        return state["StartedAt"] != started and state["Health"]["Status"] == "healthy"

    await eventually(is_back, RUN)
    async with await Bus.connect(stack.url, access=Access(stack.credentials("operator"))) as operator:
        before = await place(operator)
        await publish(stack, operator, "A disk that was full while the server was away")
        await document(operator, before)
