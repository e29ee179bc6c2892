"""What may be done to real containers, by whom, how often, and to which never."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest

from stenobus_executor import actions
from stenobus_executor.approval import issue
from stenobus_executor.command import own_ids
from stenobus_executor.ledger import Budget
from stenobus_executor.rules import Rules, ended_by_itself, grace, remembered
from stenobus_testing import eventually

from ..support.containers import Containers
from .conftest import KEY, Executor, Start, approval

FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.05; done"
PLUGIN = {"stenobus.plugin": "asr"}
MEGABYTE = 1024**2


def plugin(containers: Containers, name: str = "asr", script: str = FOREVER, **options: Any) -> Any:
    return containers.run(name, script, labels=PLUGIN | options.pop("labels", {}), **options)


def started(container: Any) -> str:
    container.reload()
    return str(container.attrs["State"]["StartedAt"])


async def test_a_running_plugin_is_restarted(executor: Executor, containers: Containers) -> None:
    app = plugin(containers)
    before = started(app)
    answer = await executor.restart(app.name, t=5)
    assert (answer.status, answer.body) == (204, b"")
    assert started(app) != before and app.status == "running"
    said = {"call": "restart", "name": app.name, "action": "act-1", "approved": False, "allowed": True}
    assert [{k: v for k, v in line.items() if k != "time"} for line in executor.audit] == [said, said | {"status": 204}]


@pytest.mark.parametrize(
    ("policy", "crashes"), [({"Name": "no"}, 1), ({"Name": "on-failure", "MaximumRetryCount": 2}, 3)]
)
async def test_a_crashed_plugin_is_started_again(
    executor: Executor, containers: Containers, policy: dict[str, Any], crashes: int
) -> None:
    script = f"echo >> /runs; [ $(wc -l < /runs) -gt {crashes} ] && exec sleep 1000; exit 3"
    app = plugin(containers, script=script, restart_policy=policy)
    await eventually(lambda: started(app) and app.status == "exited", within=60)  # the engine has given up
    assert (await executor.restart(app.id[:12])).status == 204
    app.reload()
    assert app.status == "running"


@pytest.mark.parametrize(("seconds", "ended"), [(60, True), (1, False)])
async def test_a_container_gets_the_time_that_it_asks_for(
    executor: Executor, containers: Containers, monkeypatch: pytest.MonkeyPatch, seconds: int, ended: bool
) -> None:
    takes = "sleep 3; touch /ended; exit 0" if ended else "sleep 1000"
    script = f"trap '{takes}' TERM; echo ready; while true; do sleep 0.05; done"
    app = containers.asking("asr", script, seconds, PLUGIN)
    await eventually(app.logs, within=60)
    before = started(app)
    if ended:
        monkeypatch.setattr(actions, "_PATIENCE", 1.0)  # by itself too short: the deadline begins after that time
    assert (await executor.ask("POST", f"/containers/{app.name}/restart", X_Stenobus_Action="act-1")).status == 204
    assert started(app) != before
    assert (app.exec_run(["/bin/test", "-f", "/ended"]).exit_code == 0) == ended


async def test_for_what_has_crashed_nothing_is_waited(executor: Executor, containers: Containers) -> None:
    app = containers.asking("asr", "[ -f /ran ] && exec sleep 1000; touch /ran; exit 3", 100, PLUGIN)
    app.wait(timeout=60)
    assert (await executor.ask("POST", f"/containers/{app.name}/restart", X_Stenobus_Action="act-1")).status == 204
    app.reload()
    assert app.status == "running" and containers.happened(app, "kill", "stop") == 0  # there was nobody to wait for


def test_what_a_container_asks_for_is_bounded() -> None:
    for said, seconds in (({}, 10), ({"StopTimeout": None}, 10), ({"StopTimeout": 0}, 0), ({"StopTimeout": 45}, 45)):
        assert grace({"Config": said}) == seconds
    assert grace({}) == 10
    assert grace({"Config": {"StopTimeout": 3600}}) == grace({"Config": {"StopTimeout": -1}}) == 120


async def test_docker_py_restarts_through_it(executor: Executor, containers: Containers) -> None:
    app = plugin(containers)
    before = started(app)

    def restart() -> None:
        client = docker.DockerClient(base_url=f"unix://{executor.socket}")
        with pytest.raises(docker.errors.APIError, match="X-Stenobus-Action"):
            client.containers.get(app.name).restart(timeout=0)
        client.api.headers["X-Stenobus-Action"] = "act-1"
        client.containers.get(app.name).restart(timeout=0)
        client.close()

    await asyncio.to_thread(restart)
    assert started(app) != before


async def test_limits_are_set_while_it_runs(executor: Executor, containers: Containers) -> None:
    app = plugin(containers, mem_limit="32m", memswap_limit="32m")
    before = started(app)
    answer = await executor.limit(app.name, 64 * MEGABYTE, 500_000_000)
    assert answer.status == 200
    assert started(app) == before
    host = app.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * MEGABYTE, 64 * MEGABYTE, 500_000_000)
    assert (await executor.limit(app.name, 0, 250_000_000)).status == 200
    app.reload()
    assert (app.attrs["HostConfig"]["Memory"], app.attrs["HostConfig"]["NanoCpus"]) == (64 * MEGABYTE, 250_000_000)


async def test_limits_have_limits(start: Start, containers: Containers) -> None:
    executor = await start(Rules(visible=("*",), most_memory=128 * MEGABYTE, most_processors=1_000_000_000))
    app = plugin(containers, mem_limit="32m", memswap_limit="32m")
    for memory, processors in (
        (16 * MEGABYTE - 1, 0),
        (128 * MEGABYTE + 1, 0),
        (-1, 0),
        (0, 0),
        (0, 49_999_999),
        (0, 1_000_000_001),
        (0, -1),
    ):
        assert (await executor.limit(app.name, memory, processors)).status == 400
    for body in (
        b'{"Memory": 67108864, "MemorySwap": -1, "NanoCpus": 0}',
        b'{"Memory": 67108864, "MemorySwap": 134217729, "NanoCpus": 0}',
        b'{"Memory": 67108864, "MemorySwap": 67108863, "NanoCpus": 0}',
        b'{"Memory": 0, "MemorySwap": 67108864, "NanoCpus": 0}',
        b'{"Memory": 67108864, "MemorySwap": 67108864}',
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 0, "RestartPolicy": {"Name": "always"}}',
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 0, "PidsLimit": 0}',
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": false}',
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 0}'.ljust(1025),
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 0, "NanoCpus": 100000000}',
        b'{"Memory": 67108864.0, "MemorySwap": 67108864, "NanoCpus": 0}',
        b'{"Memory": 67108864, "MemorySwap": 67108864, "NanoCpus": true}',
        b'{"memory": 67108864, "MemorySwap": 67108864, "NanoCpus": 0}',
        b"[" * 1000,
        b"[]",
        b"",
    ):
        answer = await executor.ask("POST", f"/containers/{app.name}/update", body, X_Stenobus_Action="act-1")
        assert answer.status == 400, body
    app.reload()
    assert app.attrs["HostConfig"]["Memory"] == 32 * MEGABYTE and app.attrs["HostConfig"]["NanoCpus"] == 0
    assert not any(line["allowed"] for line in executor.audit)


async def test_memory_in_use_is_not_taken_away(executor: Executor, containers: Containers) -> None:
    script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ready; while true; do sleep 0.05; done"
    app = plugin(containers, script=script, mem_limit="256m", memswap_limit="256m")
    await eventually(app.logs, within=60)
    answer = await executor.limit(app.name, 32 * MEGABYTE)
    assert (answer.status, answer.message) == (409, f"{app.name} uses more memory than that.")
    assert (await executor.limit(app.name, 200 * MEGABYTE)).status == 200
    app.stop(timeout=0)
    token = approval(app.name, kind="limits")
    assert (await executor.limit(app.name, 32 * MEGABYTE, approval=token)).status == 200  # nothing is in use


async def test_what_the_engine_refuses_is_said(start: Start, containers: Containers) -> None:
    executor = await start(Rules(visible=("*",), most_processors=10**15))
    app = plugin(containers)
    answer = await executor.limit(app.name, 0, 10**14)  # more processors than there are
    assert answer.status == 400 and "CPUs" in answer.message
    assert [line["allowed"] for line in executor.audit] == [True, True]
    assert executor.audit[-1]["status"] == 400


async def test_only_what_is_on_the_list_is_touched(start: Start, containers: Containers) -> None:
    app, other = containers.run("app", FOREVER), plugin(containers, "other")
    by_label = await start(Rules(visible=(f"{containers.prefix}-*",)))
    refused = await by_label.restart(app.name, approval=approval(app.name))
    assert (refused.status, refused.message) == (
        403,
        f"{app.name} is left alone: it is not on the list of what may be touched.",
    )
    assert (await by_label.limit(app.name, 64 * MEGABYTE)).status == 403
    by_name = await start(Rules(visible=(f"{containers.prefix}-*",), touchable=("*-app",)))
    assert (await by_name.restart(app.name)).status == 204
    assert (await by_name.restart(other.name)).status == 403


@pytest.mark.parametrize(
    "labels",
    [
        {"com.docker.compose.service": "nats"},
        {"com.docker.compose.service": "executor", "stenobus.plugin": "asr"},
        {"stenobus.plugin": "asr, monitor"},
    ],
)
async def test_what_is_protected_needs_an_approval(
    executor: Executor, containers: Containers, labels: dict[str, str]
) -> None:
    app = containers.run("guarded", FOREVER, labels=labels)
    before = started(app)
    for answer in (await executor.restart(app.name), await executor.limit(app.name, 64 * MEGABYTE)):
        assert answer.status == 403 and "protected" in answer.message
    assert started(app) == before
    assert (await executor.restart(app.name, approval=approval(app.name))).status == 204
    assert started(app) != before


async def test_a_name_can_be_protected(start: Start, containers: Containers) -> None:
    app = plugin(containers)
    executor = await start(Rules(visible=("*",), protected=("*-asr",)))
    assert (await executor.restart(app.name)).status == 403


async def test_it_never_touches_itself(start: Start, containers: Containers) -> None:
    own = plugin(containers)
    before = started(own)
    executor = await start(Rules(visible=("*",), touchable=("*",), protected=(), own=frozenset({own.id})))
    for name in (own.name, own.id, own.id[:12], own.id[:4]):
        for token in (None, approval(own.name)):
            answer = await executor.restart(name, approval=token)
            assert answer.status == 403 and "itself" in answer.message
        assert (await executor.limit(name, 64 * MEGABYTE)).status == 403
    assert started(own) == before


def test_a_process_knows_its_container(tmp_path: Path) -> None:
    own, other = "ab" * 32, "cd" * 32
    (tmp_path / "mountinfo").write_text(
        f"810 808 8:1 /var/lib/docker/containers/{own}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        f"811 808 0:9 / /var/lib/docker/containers/{other}/mounts/shm rw - tmpfs shm rw\n"
        f"812 808 0:9 / / rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/{other}/diff\n"
    )
    (tmp_path / "cgroup").write_text("0::/\n")
    assert own_ids(tmp_path) == {own}
    (tmp_path / "mountinfo").write_text("")
    (tmp_path / "cgroup").write_text(f"3:memory:/docker/{own}\n0::/system.slice/docker-{other}.scope\n")
    assert own_ids(tmp_path) == {own, other}


async def test_what_is_restarting_or_starting_is_left_alone(executor: Executor, containers: Containers) -> None:
    loops = plugin(containers, "loops", "exit 1", restart_policy={"Name": "always"})
    check = {"test": ["CMD", "/bin/false"], "interval": 1_000_000_000, "start_period": 3_600_000_000_000}
    young = plugin(containers, "young", healthcheck=check)
    # The pauses double: by now they are long enough to be looked at.
    await eventually(
        lambda: started(loops) and loops.status == "restarting" and loops.attrs["RestartCount"] >= 6, within=60
    )
    for token in (None, approval(loops.name)):
        answer = await executor.restart(loops.name, approval=token)
        assert answer.status == 403 and "restarting" in answer.message
    for token in (None, approval(young.name)):
        answer = await executor.restart(young.name, approval=token)
        assert answer.status == 403 and "starting" in answer.message
    # Limits stop nothing, and may be what it dies of.
    assert (await executor.limit(loops.name, 64 * MEGABYTE)).status == 200
    assert (await executor.limit(young.name, 64 * MEGABYTE)).status == 200


@pytest.mark.parametrize(
    "policy",
    [
        {"Name": "no"},
        {"Name": "always"},
        {"Name": "unless-stopped"},
        {"Name": "on-failure", "MaximumRetryCount": 0},
        {"Name": "on-failure", "MaximumRetryCount": 5},
    ],
    ids=lambda policy: f"{policy['Name']}{policy.get('MaximumRetryCount', '')}",
)
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_what_somebody_stopped_stays_so(
    executor: Executor, containers: Containers, policy: dict[str, Any], how: str
) -> None:
    # With an exit code of its own: the code alone does not tell who ended it.
    script = "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done"
    app = plugin(containers, script=script, restart_policy=policy)
    await eventually(app.logs, within=60)  # the first process of a container takes a signal only that it has asked for
    app.stop(timeout=30) if how == "stop" else app.kill("TERM")
    app.wait(timeout=60)
    answer = await executor.restart(app.name)
    assert answer.status == 403 and "stopped it" in answer.message
    app.reload()
    assert app.status == "exited"
    assert (await executor.restart(app.name, approval=approval(app.name))).status == 204
    app.reload()
    assert app.status == "running"


@pytest.mark.parametrize("code", ["0", "143"])
async def test_what_ended_as_if_told_to_is_not_started_again(
    executor: Executor, containers: Containers, code: str
) -> None:
    app = plugin(containers, script=f"exit {code}")
    app.wait(timeout=60)
    assert (await executor.restart(app.name)).status == 403


@pytest.mark.parametrize(
    ("policy", "retries", "restarts", "code", "oom", "itself"),
    [
        ("no", 0, 0, 3, False, True),
        ("no", 0, 0, 137, True, True),
        ("no", 0, 0, 137, False, False),
        ("no", 0, 0, 0, False, False),
        ("always", 0, 4, 3, False, False),
        ("unless-stopped", 0, 0, 137, True, False),
        ("on-failure", 0, 9, 3, False, False),
        ("on-failure", 5, 4, 3, False, False),
        ("on-failure", 5, 5, 3, False, True),
        ("on-failure", 5, 5, 0, False, False),
    ],
)
def test_who_ended_it_shows_when_its_events_are_forgotten(
    policy: str, retries: int, restarts: int, code: int, oom: bool, itself: bool
) -> None:
    host = {"RestartPolicy": {"Name": policy, "MaximumRetryCount": retries}}
    state = {"Status": "exited", "ExitCode": code, "OOMKilled": oom}
    assert ended_by_itself({"State": state, "HostConfig": host, "RestartCount": restarts}) == itself


async def test_what_the_kernel_killed_is_started_again(executor: Executor, containers: Containers) -> None:
    eat = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'"
    app = plugin(containers, script=f"exec {eat}", mem_limit="16m", memswap_limit="16m")
    app.wait(timeout=60)
    app.reload()
    assert app.attrs["State"]["OOMKilled"]
    assert (await executor.restart(app.name)).status == 204


def kill_behind_the_engines_back(containers: Containers, app: Any) -> None:
    app.reload()
    containers.run(f"killer-{app.short_id}", f"kill -9 {app.attrs['State']['Pid']}", pid_mode="host")
    app.wait(timeout=60)
    app.reload()
    assert app.attrs["State"]["ExitCode"] == 137 and not app.attrs["State"]["OOMKilled"]


async def test_what_was_killed_behind_the_engines_back_is_started_again(
    executor: Executor, containers: Containers
) -> None:
    for number in range(20):  # while others make the engine forget
        app = plugin(containers, f"asr-{number}")
        kill_behind_the_engines_back(containers, app)
        answer = await executor.restart(app.name)
        if answer.status != 403:
            break
        assert "does not remember" in answer.message
    app.reload()
    assert answer.status == 204 and app.status == "running"


async def test_what_the_engine_does_not_remember_is_left_alone(
    executor: Executor, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "remembered", lambda *_: False)
    app = plugin(containers)
    kill_behind_the_engines_back(containers, app)
    answer = await executor.restart(app.name)
    assert answer.status == 403 and "does not remember" in answer.message
    assert (await executor.restart(app.name, approval=approval(app.name))).status == 204


async def test_what_somebody_killed_stays_so_whoever_told_it_to_end_before(
    executor: Executor, containers: Containers
) -> None:
    app = plugin(containers, script="trap '' TERM; while true; do sleep 0.05; done")
    app.kill("TERM")  # by the engine, which says so; and then not by it
    kill_behind_the_engines_back(containers, app)
    answer = await executor.restart(app.name)
    assert answer.status == 403 and ("stopped it" in answer.message or "does not remember" in answer.message)


@pytest.mark.parametrize(
    ("began", "oldest", "known"),
    [
        (0, 43.9, True),
        (0, 44.1, False),  # the engine may have been told before
        (0, 59.1, False),  # not even the end itself
        (58, 57.9, True),  # its whole life
        (58, 58.1, False),
    ],
)
def test_an_end_is_remembered_with_what_led_to_it(began: int, oldest: float, known: bool) -> None:
    state = {"StartedAt": f"2026-05-04T12:00:{began:02}.000000001Z", "FinishedAt": "2026-05-04T12:00:59.000000001Z"}
    minute = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()
    assert remembered({"State": state}, minute + oldest) == known


async def test_a_pause_is_somebody_s_wish(executor: Executor, containers: Containers) -> None:
    app = plugin(containers)
    app.pause()
    answer = await executor.restart(app.name)
    assert answer.status == 403 and "paused" in answer.message
    app.unpause()


async def test_a_budget_for_each_and_for_all(start: Start, containers: Containers) -> None:
    one, two = plugin(containers, "one"), plugin(containers, "two")
    budget, rules = Budget(each=2, all=3, window=600), Rules(visible=(f"{containers.prefix}-*",))
    executor = await start(rules, budget=budget)
    assert [(await executor.restart(one.name)).status for _ in range(2)] == [204, 204]
    before = started(one)
    for token in (None, approval(one.name)):
        answer = await executor.restart(one.name, approval=token)
        assert answer.status == 429 and 0 < int(answer.headers["retry-after"]) <= 601
    again = await start(rules, budget=budget, state=executor.state)  # as after a restart of the executor
    assert (await again.restart(one.id)).status == 429
    assert (await again.restart(two.name)).status == 204
    answer = await again.restart(two.name)
    assert answer.status == 429 and "all containers" in answer.message
    assert started(one) == before
    assert (await again.limit(one.name, 64 * MEGABYTE)).status == 200  # has a budget of its own


async def test_an_approval_is_used_once(executor: Executor, start: Start, containers: Containers) -> None:
    app = containers.run("nats", FOREVER, labels={"com.docker.compose.service": "nats"})
    token = approval(app.name)
    assert (await executor.restart(app.name, approval=token)).status == 204
    before = started(app)
    answer = await executor.restart(app.name, approval=token)
    assert (answer.status, answer.message) == (409, "That approval was used before.")
    again = await start(Rules(visible=(f"{containers.prefix}-*",)), state=executor.state)
    assert (await again.restart(app.id, approval=approval(app.name))).status == 409
    assert started(app) == before
    assert (await again.restart(app.name, "act-2", approval(app.name, "act-2"))).status == 204
    said = approval(app.name, kind="limits")  # another thing, approved by itself
    assert (await again.limit(app.name, 64 * MEGABYTE, approval=said)).status == 200


async def test_no_other_approval_will_do(executor: Executor, start: Start, containers: Containers) -> None:
    app = containers.run("nats", FOREVER, labels={"com.docker.compose.service": "nats"})
    before = started(app)
    expired = issue(KEY, "act-1", "restart", app.name, time.time() - 60, now=time.time() - 600)
    for token in (
        "",
        "yes",
        expired,
        approval(f"{app.name}-2"),
        approval(app.name, "act-2"),
        approval(app.name, kind="limits"),
        approval(app.name, key=bytes(32)),
    ):
        answer = await executor.ask(
            "POST",
            f"/containers/{app.name}/restart?t=0",
            X_Stenobus_Action="act-1",
            X_Stenobus_Approval=token,
        )
        assert answer.status == 403, token
    keyless = await start(Rules(visible=("*",)), key=None)
    answer = await keyless.restart(app.name, approval=approval(app.name))
    assert answer.status == 403 and "no key" in answer.message
    assert started(app) == before
    assert not any(token in str(executor.audit) for token in (expired, approval(app.name)))


async def test_an_approval_of_something_else_is_worth_as_much_as_none(
    executor: Executor, containers: Containers
) -> None:
    app = plugin(containers)  # restarted along with what was approved
    assert (await executor.restart(app.name, approval=approval("other"))).status == 204
    assert [line["approved"] for line in executor.audit] == [False, False]
    assert json.loads(executor.state.read_text())["used"] == {}


async def test_an_action_has_an_id(executor: Executor, containers: Containers) -> None:
    app = plugin(containers)
    before = started(app)
    for headers in ({}, *({"X-Stenobus-Action": said} for said in ("", "a b", "a" * 65, "a/b", "ä"))):
        assert (await executor.ask("POST", f"/containers/{app.name}/restart?t=0", **headers)).status == 400
    assert started(app) == before


async def test_what_cannot_be_noted_is_not_done(start: Start, containers: Containers, tmp_path: Path) -> None:
    app = plugin(containers)
    before = started(app)
    executor = await start(Rules(visible=("*",)), state=tmp_path / "gone" / "state.json")
    answer = await executor.restart(app.name)
    assert answer.status == 503 and "noted" in answer.message
    assert started(app) == before


async def test_a_client_that_hangs_up_stops_nothing(executor: Executor, containers: Containers) -> None:
    app = plugin(containers)
    before = started(app)
    _, writer = await asyncio.open_unix_connection(executor.socket)
    head = f"POST /containers/{app.name}/restart?t=1 HTTP/1.1\r\nHost: e\r\nX-Stenobus-Action: act-1\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await eventually(lambda: [line for line in executor.audit if line.get("status") == 204], within=60)
    assert started(app) != before
