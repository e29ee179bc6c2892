"""What callers and runs may spend."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Held
from stenobus_bus.budget import Budgets
from stenobus_contracts import EXTRACT, LlmRequest, Message, TokenUsage
from stenobus_core.errors import SettingsError
from stenobus_llm import plugin
from stenobus_llm.budgets import Purse, Request, period
from stenobus_llm.failures import Failure
from stenobus_llm.outcome import Outcome
from stenobus_llm.router import Means, Router
from stenobus_llm.settings import Rule, Settings
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually

from .test_router import INPUTS

REQUEST = LlmRequest(
    task="acme.ask", messages=(Message(role="user", content="x" * 336),), max_output_tokens=100
)  # 100 tokens of prompt and 100 of answer
MODEL: dict[str, Any] = {"model": 1}
DAY = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)


class Process:
    """One process of the plugin: a connection, its budgets, a router."""

    def __init__(self, bus: Bus, settings: Settings, name: str) -> None:
        self._budgets, self.settings, self._name = Budgets(bus), settings, name
        self.router = Router(settings)

    def purse(self, number: object = 0, caller: str = "acme/a", run: str = "run-1", now: datetime = DAY) -> Purse:
        settings, request = self.settings, Request(str(number), caller, run)
        return Purse(settings.budgets, request, settings.known_prices, self.budget, now=now)

    def budget(self, name: str, limits: Any) -> Any:
        return self._budgets.get(f"{self._name}.{name}", limits)

    async def ask(self, number: object = 0, request: LlmRequest = REQUEST, **whose: Any) -> Outcome:
        return await self.router.answer(request, Means(purse=self.purse(number, **whose)))


@pytest.fixture
async def start(bus: Bus, nats_server: EmbeddedServer, server: Any) -> AsyncIterator[Any]:
    """Starts processes that share their budgets. A target is described by its name and its price per million tokens."""
    started: list[Process] = []
    connections: list[Bus] = []
    name = unique("llm")

    async def start(*rules: dict[str, Any], targets: dict[str, Any] = MODEL, **more: Any) -> Process:
        described = [
            {"name": each, "base_url": server.url, "model": "m", "timeout": 10}
            | ({} if price is None else {"input_price_per_million": price, "output_price_per_million": price})
            for each, price in targets.items()
        ]
        settings = Settings.model_validate({"targets": described, "budgets": rules, **more})
        connections.append(await Bus.connect(nats_server.url))
        started.append(Process(connections[-1], settings, name))
        return started[-1]

    yield start
    for process in started:
        await process.router.close()
    for connection in connections:
        await connection.close()


def failed(outcome: Outcome) -> Failure:
    assert isinstance(outcome.result, Failure)
    return outcome.result


def reasons(outcome: Outcome) -> dict[str, str]:
    return {each.target: each.reason for each in outcome.done(REQUEST, "r").candidates}


# --- who has how much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "name", "end"),
    [
        ("hour", "2026-12-31T23", datetime(2027, 1, 1, tzinfo=UTC)),
        ("day", "2026-12-31", datetime(2027, 1, 1, tzinfo=UTC)),
        ("month", "2026-12", datetime(2027, 1, 1, tzinfo=UTC)),
        ("run", "run-1", None),
    ],
)
def test_a_period_has_a_name_and_an_end(per: Any, name: str, end: datetime | None) -> None:
    assert period(Rule(name="b", per=per, tokens=1), "run-1", DAY) == (name, end)


async def test_a_request_that_does_not_fit_is_refused_at_once_with_what_is_left_and_until_when(
    start: Any, server: Any
) -> None:
    process = await start({"name": "daily", "per": "day", "tokens": 500})
    server.completes("ok", usage=(300, 50))
    await process.ask(1)

    refused = failed(await process.ask(2))

    assert (refused.code, refused.retryable, len(server.received)) == ("over_budget", False, 1)
    assert refused.message == (
        "The budget daily has 150 tokens left of 500 tokens, and the request takes about 200 tokens at the target "
        "model (estimated); it is renewed at 2027-01-01 00:00 UTC."
    )


async def test_money_is_counted_to_the_last_digit(start: Any, server: Any) -> None:
    process = await start({"name": "daily", "per": "day", "usd": "0.0004"}, targets={"model": 1})
    server.completes("ok", usage=(150, 50))
    server.completes("ok", usage=(150, 51))

    assert not isinstance((await process.ask(1)).result, Failure)
    assert not isinstance((await process.ask(2)).result, Failure)
    assert "has $0 left of $0.0004" in failed(await process.ask(3)).message
    assert (await process.budget("daily.2026-12-31", {}).used())["usd"] == Decimal("0.000401")


async def test_runs_callers_and_periods_have_budgets_of_their_own(start: Any) -> None:
    process = await start(
        {"name": "each-run", "per": "run", "tokens": 200},
        {"name": "each", "per": "day", "tokens": 600, "each_caller": True, "callers": ["acme/*"]},
    )

    async def fits(number: int, **whose: Any) -> bool:
        target = process.settings.targets[0]
        return await process.purse(number, **whose).reserve(target, TokenUsage(input=200)) is None

    assert await fits(1, run="one") and not await fits(2, run="one")
    assert await fits(3, run="two") and await fits(4, run="three")
    assert not await fits(5, run="four")  # the caller has 600 a day
    assert await fits(6, run="four", caller="acme/b") and await fits(7, run="five", caller="other")
    assert await fits(8, run="six", now=datetime(2027, 1, 1, tzinfo=UTC))


async def test_two_budgets_hold_together_or_not_at_all(start: Any, server: Any) -> None:
    process = await start(
        {"name": "wide", "per": "day", "tokens": 1000}, {"name": "narrow", "per": "run", "tokens": 100}
    )

    assert "narrow" in failed(await process.ask(1)).message
    all_of_it = {"tokens": Decimal(1000)}
    assert isinstance(await process.budget("wide.2026-12-31", all_of_it).reserve("x", all_of_it), Held)


# --- whom it leaves --------------------------------------------------------------------------------------------------


async def test_who_cannot_be_paid_is_passed_over_for_a_cheaper_one_and_says_so(start: Any, server: Any) -> None:
    process = await start({"name": "daily", "per": "day", "usd": "0.001"}, targets={"dear": 1000, "cheap": 1})
    server.completes("ok", usage=(100, 100))

    outcome = await process.ask()

    assert [target.name for target in outcome.asked] == ["cheap"]
    assert "The budget daily has $0.001 left of $0.001, and the request takes about $0.2" in reasons(outcome)["dear"]
    assert reasons(outcome)["cheap"].startswith("asked")


async def test_what_costs_nothing_is_taken_when_nothing_is_left(start: Any, server: Any) -> None:
    process = await start({"name": "daily", "per": "day", "usd": "0.0002"}, targets={"paid": 1, "own": 0})
    server.completes("ok", usage=(200, 100))
    server.completes("ok")

    assert (await process.ask(1)).asked[0].name == "paid"
    assert (await process.ask(2)).asked[0].name == "own"


async def test_an_unknown_price_is_refused_unless_the_budget_says_otherwise(start: Any, server: Any) -> None:
    strict = await start({"name": "daily", "per": "day", "usd": 1}, targets={"model": None})
    lenient = await start({"name": "loose", "per": "day", "usd": 1, "unknown_price": "allow"}, targets={"model": None})
    tokens = await start({"name": "tokens", "per": "day", "tokens": 1000}, targets={"model": None})
    server.completes("ok")
    server.completes("ok")

    refused = failed(await strict.ask())
    assert refused.code == "over_budget" and "price of the target model is unknown" in refused.message
    assert not isinstance((await lenient.ask()).result, Failure)
    assert not isinstance((await tokens.ask()).result, Failure)


async def test_a_document_is_not_made_without_a_model_unless_the_settings_say_so(start: Any) -> None:
    rule = {"name": "daily", "per": "day", "tokens": 1}
    asked = LlmRequest(task=EXTRACT.name, messages=REQUEST.messages, inputs=INPUTS)

    outcome = await (await start(rule)).ask(1, asked)
    assert failed(outcome).code == "over_budget"
    assert "no budget can pay it" in reasons(outcome)["extractive"]

    outcome = await (await start(rule, fallback={"over_budget": ["extractive"]})).ask(2, asked)
    assert [target.name for target in outcome.asked] == ["extractive"]


async def test_a_fallback_that_cannot_be_paid_is_not_asked(start: Any, server: Any) -> None:
    process = await start(
        {"name": "daily", "per": "day", "usd": "0.001"},
        targets={"a": 1, "dear": 1000, "b": 1},
        fallback={"overloaded": ["dear", "b"]},
        strategy="cost",
    )
    server.fails(503)
    server.completes("ok")

    outcome = await process.ask()

    assert [target.name for target in outcome.asked] == ["a", "b"]


async def test_a_failure_that_took_nothing_costs_nothing(start: Any, server: Any) -> None:
    process = await start({"name": "daily", "per": "day", "tokens": 200})
    for number in range(3):
        server.fails(429)
        assert failed(await process.ask(number)).code == "throttled"


# --- exactness -------------------------------------------------------------------------------------------------------


async def test_of_fifty_callers_in_two_processes_exactly_ten_are_admitted(start: Any, server: Any) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    rule = {"name": "ten", "per": "day", "tokens": 2000}
    processes = [await start(rule), await start(rule)]
    for _ in range(50):
        server.completes("ok", usage=(100, 100))

    async def caller(number: int) -> bool:
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        outcome = await chance.choice(processes).ask(number)
        return not isinstance(outcome.result, Failure)

    admitted = await asyncio.gather(*map(caller, range(50)))

    assert (sum(admitted), len(server.received)) == (10, 10), f"seed {seed}"
    assert (await processes[0].budget("ten.2026-12-31", {}).used())["tokens"] == 2000


async def test_a_request_whose_process_died_takes_over_what_was_held_for_it(
    stage: Stage, nats_server: EmbeddedServer, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"name": "model", "base_url": server.url, "model": "m", "timeout": 30}
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps([target]))
    monkeypatch.setenv("STENOBUS_LLM_BUDGETS", json.dumps([{"name": "two", "per": "run", "tokens": 400}]))
    released = asyncio.Event()
    server.drips(released)
    server.completes("whole", usage=(100, 60))
    async with await Bus.connect(nats_server.url) as bus:
        first = await stage.run(plugin, bus=bus)
        envelope = await stage.publish(REQUEST)
        await eventually(lambda: len(server.received) == 1)
        await first.stop(grace=0)
    await stage.run(plugin)
    await stage.run_until_idle()
    released.set()

    [step] = await stage.steps(envelope.run)
    assert (step.status, step.facts["error"], step.facts["tokens"]) == ("done", None, 360)
    used = await Budgets(stage.bus).get(f"llm.two.{envelope.run}", {}).used()
    assert used["tokens"] == 360  # the lost call as estimated, and the other one


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"name": "b", "per": "day"}, "limits nothing"),
        ({"name": "b", "per": "week", "tokens": 1}, "per"),
        ({"name": "B.", "per": "day", "tokens": 1}, "name"),
        ({"name": "b", "per": "day", "usd": 0}, "greater than 0"),
    ],
)
def test_a_budget_that_makes_no_sense_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setenv("STENOBUS_LLM_BUDGETS", json.dumps([rule]))

    with pytest.raises(SettingsError, match=complaint):
        Settings.load("llm")
