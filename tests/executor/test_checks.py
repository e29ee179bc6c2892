"""Whether an approval holds: the executor says so to whoever asks, and to nobody who guesses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from stenobus_executor.approval import ApprovalRefused, issue
from stenobus_executor.checks import MOST, WINDOW, Checks, Guessing
from stenobus_executor.rules import Rules

from ..support.containers import Containers
from .conftest import KEY, Executor, Start, approval

NAME = "stenobus_nats_1"


@pytest.fixture
async def nobody(start: Start) -> Executor:
    """One without an engine: it takes none to say what an approval is worth."""
    found: Executor = await start(Rules(), engine=Path("/nowhere"))
    return found


async def test_it_says_until_when_an_approval_holds_and_uses_none_up(nobody: Executor) -> None:
    assert (await nobody.ask("GET", "/approvals")).json == {"possible": True}
    token = approval(NAME, kind="pause")
    for _ in range(2):
        answer = await nobody.check(NAME, token, kind="pause")
        assert (answer.status, answer.json) == (200, {"expires": int(token.split(".")[1])})
    said = {"call": "approvals/check", "name": NAME, "kind": "pause", "action": "act-1", "allowed": True, "status": 200}
    assert [{k: v for k, v in line.items() if k != "time"} for line in nobody.audit] == [said, said]
    assert not nobody.state.exists()


async def test_it_holds_for_nothing_else(nobody: Executor) -> None:
    expired = issue(KEY, "act-1", "restart", NAME, time.time() - 60, now=time.time() - 600)
    far = issue(KEY, "act-1", "restart", NAME, time.time() + 172_800, now=time.time() + 172_000)
    for token, why in (
        ("", "no approval"),
        ("yes", "no approval"),
        (expired, "expired"),
        (far, "24 hours"),
        (approval("other"), "not for"),
        (approval(NAME, "act-2"), "not for"),
        (approval(NAME, kind="limits"), "not for"),
        (approval(NAME, key=bytes(32)), "not for"),
    ):
        answer = await nobody.check(NAME, token)
        assert answer.status == 403 and why in answer.message, token
    assert (await nobody.check(NAME, approval(NAME), action="a b")).status == 403
    for line in nobody.audit:
        assert (line["allowed"], line["status"]) == (False, 403)
    assert not any(token in json.dumps(nobody.audit) for token in (expired, approval(NAME, "act-2").split(".")[2]))


async def test_whoever_guesses_where_it_acts_is_not_listened_to_either(
    executor: Executor, containers: Containers
) -> None:
    app = containers.run("nats", "exec sleep 1000", labels={"com.docker.compose.service": "nats"})
    for number in range(MOST):
        answer = await executor.restart(app.name, approval=f"v1.{int(time.time()) + 60}.{number:064x}")
        assert answer.status == 403 and "another key" in answer.message
    answer = await executor.restart(app.name, approval=approval(app.name))
    assert answer.status == 403 and "Too many" in answer.message
    assert (await executor.check(app.name, approval(app.name))).status == 429


async def test_what_is_no_question_is_refused(nobody: Executor) -> None:
    for method, target, status in (
        ("POST", f"/approvals/check?kind=restart&target={NAME}", 405),
        ("GET", f"/approvals/check?target={NAME}", 400),
        ("GET", "/approvals/check?kind=restart", 400),
        ("GET", "/approvals/check?kind=re%20start&target=a", 400),
        ("GET", "/approvals/check?kind=restart&target=../a", 400),
        ("GET", f"/approvals/check?kind=restart&target={NAME}&token=x", 400),
        ("GET", "/approvals?all=1", 400),
        ("GET", "/approvals/sign", 403),
        ("GET", "/approvals/check/", 403),
    ):
        assert (await nobody.ask(method, target, X_Stenobus_Action="a")).status == status, target


async def test_whoever_guesses_is_not_listened_to_for_a_while(nobody: Executor) -> None:
    guesses = [await nobody.check(NAME, f"v1.{int(time.time()) + 60}.{number:064x}") for number in range(MOST + 1)]
    assert [answer.status for answer in guesses] == [403] * MOST + [429]
    assert 0 < int(guesses[-1].headers["retry-after"]) <= WINDOW + 1
    assert (await nobody.check(NAME, approval(NAME))).status == 429
    assert nobody.audit[-1]["status"] == 429 and not nobody.audit[-1]["allowed"]


def test_time_forgives() -> None:
    now = 100.0
    checks = Checks(KEY, lambda: now)
    for _ in range(MOST):
        with pytest.raises(ApprovalRefused, match="no approval"):
            checks.check("guess", "act-1", "restart", NAME)
        now += 1.0
    with pytest.raises(Guessing) as refused:
        checks.check(approval(NAME), "act-1", "restart", NAME)
    now += refused.value.wait
    assert checks.check(approval(NAME), "act-1", "restart", NAME) > time.time()


async def test_without_a_key_it_says_so(start: Start) -> None:
    keyless = await start(Rules(), engine=Path("/nowhere"), key=None)
    assert (await keyless.ask("GET", "/approvals")).json == {"possible": False}
    answer = await keyless.check(NAME, approval(NAME))
    assert (answer.status, answer.message) == (403, "Nothing can be approved: there is no key.")
