"""The monitor's own hands on the executor: what it may, what it may with an approval, and how it hears of a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import Action
from stenobus_executor.approval import ApprovalRefused
from stenobus_executor.ledger import Budget
from stenobus_executor.rules import Rules
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.actions.hands import Hands
from stenobus_monitor.engine import Engine
from stenobus_monitor.errors import ActionRefused, EngineUnavailable

from ..support.containers import Containers
from .conftest import KEY, Executor, Start, approval

FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.05; done"


class Tokens(dict[str, str]):
    """What was approved, by action."""

    async def __call__(self, action_id: str) -> str | None:
        return self.get(action_id)


@pytest.fixture
async def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
async def hands(executor: Executor, tokens: Tokens) -> AsyncIterator[Hands]:
    hands = Hands(str(executor.socket), tokens)
    yield hands
    await hands.close()


@pytest.fixture
async def engine(executor: Executor) -> AsyncIterator[Engine]:
    engine = Engine(str(executor.socket))
    yield engine
    await engine.close()


def run(containers: Containers, service: str) -> Any:
    labels = {"stenobus.plugin": "asr", "com.docker.compose.service": service}
    return containers.run(service, FOREVER, labels=labels, mem_limit="32m", memswap_limit="32m")


async def test_a_plugin_is_restarted_and_gets_more_memory(hands: Hands, engine: Engine, containers: Containers) -> None:
    app = run(containers, "asr")
    before = await engine.inspect(app.id)
    await hands.restart(app.id, "act-1", 2)
    await hands.limit(app.id, "act-2", {"Memory": 2**26, "MemorySwap": 2**26, "NanoCpus": 0})
    after = await engine.inspect(app.id)
    assert after.started != before.started and (after.status, after.memory_limit) == ("running", 2**26)
    found = await engine.history(app.id, ["kill"], 1.0, after.started.timestamp() if after.started else 0.0)
    assert found[0]["Action"] == "kill"


async def test_it_knows_the_time_that_a_container_asks_for(engine: Engine, containers: Containers) -> None:
    asks = containers.asking("asr", FOREVER, 45, {"stenobus.plugin": "asr"})
    assert (await engine.inspect(asks.id)).grace == 45
    assert (await engine.inspect(run(containers, "other").id)).grace == 10


async def test_the_server_is_restarted_once_somebody_has_approved(
    hands: Hands, tokens: Tokens, engine: Engine, containers: Containers
) -> None:
    app, other = run(containers, "nats"), run(containers, "asr")
    before = await engine.inspect(app.id)
    with pytest.raises(ActionRefused, match="it is protected"):
        await hands.restart(app.id, "act-1", 2)
    tokens["act-1"] = approval(app.name)
    await hands.restart(app.id, "act-1", 2)
    assert (await engine.inspect(app.id)).started != before.started
    await hands.restart(other.id, "act-1", 2)  # a dependant, for which the approval is not, and which needs none
    with pytest.raises(ActionRefused, match="used before"):
        await hands.restart(app.id, "act-1", 2)


async def test_what_is_refused_is_told_from_what_is_away(start: Start, containers: Containers, tokens: Tokens) -> None:
    app = run(containers, "asr")
    executor = await start(Rules(visible=("*",)), budget=Budget(each=0))
    hands = Hands(str(executor.socket), tokens)
    with pytest.raises(ActionRefused, match="429"):
        await hands.restart(app.id, "act-1", 2)
    await hands.close()
    away = await start(Rules(visible=("*",)), engine=executor.socket.with_name("none"))
    hands = Hands(str(away.socket), tokens)
    with pytest.raises(EngineUnavailable, match="502"):
        await hands.restart(app.id, "act-1", 2)
    await hands.close()


@pytest.mark.parametrize("target", ["stenobus_nats_1", "documents-map@doc.cleaned", "a/b c", "ä" * 200])
async def test_it_has_approvals_checked_and_cannot_check_itself(hands: Hands, tmp_path: Path, target: str) -> None:
    (tmp_path / "key").write_bytes(KEY)
    people, soon = Approvals(tmp_path / "key"), datetime.now(UTC) + timedelta(minutes=5)
    action = Action(action_id="act-1", incident_id="i", kind="pause", target=target)
    assert await hands.trouble() is None
    await hands.check(action, people.token(action, soon))
    await hands.check(action, people.token(action, soon, undo=True), undo=True)
    for wrong in (
        "",
        "x\r\nX-Stenobus-Action: act-2",
        "ä",
        people.token(action, soon, undo=True),
        people.token(action.model_copy(update={"kind": "resume"}), soon),
        people.token(action.model_copy(update={"target": f"{target}x"}), soon),
        people.token(action.model_copy(update={"action_id": "act-2"}), soon),
    ):
        with pytest.raises(ApprovalRefused):
            await hands.check(action, wrong)


async def test_who_says_which_approvals_hold_may_be_away_or_without_a_key(start: Start, tokens: Tokens) -> None:
    keyless = await start(Rules(), key=None)
    hands = Hands(str(keyless.socket), tokens)
    action = Action(action_id="act-1", incident_id="i", kind="pause", target="a")
    assert await hands.trouble() == "nothing can be approved: the executor has no key"
    with pytest.raises(ApprovalRefused, match="there is no key"):
        await hands.check(action, approval("a", kind="pause"))
    await hands.close()
    away = Hands(str(keyless.socket.with_name("none")), tokens)
    assert "does not answer" in str(await away.trouble())
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await away.check(action, approval("a", kind="pause"))
    await away.close()
