"""What a request cost, whichever attempts and processes it took."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer
from stenobus_contracts import EXTRACT, LlmDone, LlmRequest, Message, TokenUsage
from stenobus_core.runs import Step
from stenobus_llm import plugin
from stenobus_llm.bill import Bill
from stenobus_llm.failures import Failure
from stenobus_llm.prices import Prices
from stenobus_llm.providers import Completion
from stenobus_llm.settings import Target
from stenobus_testing.stage import Stage
from stenobus_testing.waiting import eventually

from .test_router import INPUTS

REQUEST = LlmRequest(task="acme.ask", messages=(Message(role="user", content="x" * 336),), max_output_tokens=100)
PRICED = {"input_price_per_million": "1", "output_price_per_million": "2"}


def target(name: str, **more: Any) -> Target:
    return Target.model_validate({"name": name, **PRICED, **more})


def completion(input: int, output: int, cached: int = 0) -> Completion:
    return Completion("ok", usage=TokenUsage(input=input, output=output, cached=cached))


def test_every_call_counts_under_its_target() -> None:
    bill = Bill(Prices([]))
    bill.add(target("a"), Failure("truncated", "cut", usage=TokenUsage(input=100, output=50)))
    bill.add(target("b"), completion(200, 10))
    bill.add(target("b"), completion(300, 20, cached=100))

    assert (bill.calls, bill.usage) == (3, TokenUsage(input=600, output=80, cached=100))
    assert (bill.cost, bill.prices) == (Decimal("0.00076"), "settings")
    assert bill.facts["spent"] == [
        {"target": "a", "calls": 1, "input": 100, "output": 50, "cost_usd": "0.0002", "prices": "settings"},
        {"target": "b", "calls": 2, "input": 500, "output": 30, "cached": 100, "cost_usd": "0.00056",
         "prices": "settings"},
    ]  # fmt: skip


def test_one_unknown_price_makes_the_cost_unknown_and_keeps_what_is_known() -> None:
    bill = Bill(Prices([]))
    bill.add(target("a"), completion(1000, 0))
    bill.add(Target(name="b"), completion(1000, 0))

    assert bill.cost is None and bill.facts["cost_usd"] is None
    again = Bill(Prices([]), bill.facts)
    again.add(target("a"), completion(1000, 0))
    assert (again.cost, [part["target"] for part in again.facts["spent"]]) == (None, ["a", "b"])  # type: ignore[index,union-attr,call-overload]
    assert again.facts["spent"][0]["cost_usd"] == "0.002"  # type: ignore[index,call-overload]


def test_a_refusal_without_tokens_costs_nothing_even_where_no_price_is_known() -> None:
    bill = Bill(Prices([]))
    bill.add(Target(name="b"), Failure("throttled", "later"))

    assert (bill.calls, bill.cost) == (1, 0)


def test_a_call_whose_end_nobody_saw_counts_once_as_what_was_estimated() -> None:
    noted: dict[str, Any] = {}
    died = Bill(Prices([]), {}, noted.update)
    died.add(target("a"), completion(10, 10))
    died.begin(target("a"), TokenUsage(input=100, output=50, estimated=True))

    second = Bill(Prices([]), json.loads(json.dumps(noted)), noted.update)
    third = Bill(Prices([]), json.loads(json.dumps(noted)), noted.update)  # nothing was asked in between

    for bill in (second, third):
        assert (bill.calls, bill.usage) == (2, TokenUsage(input=110, output=60, estimated=True))
        assert bill.cost == Decimal("0.00023")
    assert second.lost is not None and second.lost.usage.total == 150
    assert third.lost is None


@pytest.mark.parametrize("facts", [{"spent": "much"}, {"spent": [{"calls": 1}]}, {"asking": 7}, {"repairs": "x"}])
def test_facts_that_are_no_bill_are_none(facts: dict[str, Any]) -> None:
    assert Bill(Prices([]), facts).calls == 0


# --- on the bus ------------------------------------------------------------------------------------------------------


def configure(monkeypatch: pytest.MonkeyPatch, server: Any, **fallback: list[str]) -> None:
    common = {"base_url": server.url, "model": "m", "timeout": 30, **PRICED}
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps([{"name": name, **common} for name in ("a", "b")]))
    monkeypatch.setenv("STENOBUS_LLM_FALLBACK", json.dumps(fallback))


async def answer(stage: Stage, request: LlmRequest = REQUEST) -> tuple[LlmDone, Step]:
    envelope = await stage.publish(request)
    return await finished(stage, envelope.run)


async def finished(stage: Stage, run: str) -> tuple[LlmDone, Step]:
    async def done() -> LlmDone | None:
        found = [LlmDone.model_validate_json(each.data) for each in await stage.stored(LlmDone) if each.run == run]
        return found[0] if found else None

    answered = await eventually(done)

    async def step() -> Step | None:
        [step] = await stage.steps(run)
        return step if step.status == "done" else None

    return answered, await eventually(step)


async def test_what_earlier_attempts_spent_is_in_the_answer_and_in_the_run(
    stage: Stage, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, server, truncated=["b"])
    server.completes("half", finish="length", usage=(100, 100))
    server.fails(503, Retry_After="0.05")  # by b: the attempt fails as a whole
    server.completes("whole", usage=(100, 60))
    await stage.run(plugin)

    done, step = await answer(stage)

    assert (done.text, done.calls, done.usage) == ("whole", 3, TokenUsage(input=200, output=160))
    assert (done.cost_usd, done.prices) == (Decimal("0.00052"), "settings")
    assert (step.attempt, step.facts["tokens"], step.facts["cost_usd"]) == (2, 360, "0.00052")
    assert [(part["target"], part["calls"]) for part in step.facts["spent"]] == [("a", 2), ("b", 1)]  # type: ignore[index,union-attr,call-overload]
    assert (step.facts["caller"], step.facts["task"], step.facts["asking"]) == ("test", "acme.ask", None)


async def test_a_call_that_its_process_did_not_see_the_end_of_is_counted_as_estimated(
    stage: Stage, nats_server: EmbeddedServer, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, server)
    released = asyncio.Event()
    server.drips(released)
    server.completes("whole", usage=(100, 60))
    async with await Bus.connect(nats_server.url) as bus:
        first = await stage.run(plugin, bus=bus)
        envelope = await stage.publish(REQUEST)
        await eventually(lambda: len(server.received) == 1)
        await first.stop(grace=0)
    await stage.run(plugin)

    done, step = await finished(stage, envelope.run)
    released.set()

    assert (done.calls, done.usage) == (2, TokenUsage(input=200, output=160, estimated=True))
    assert done.cost_usd == Decimal("0.00052") and step.facts["tokens"] == 360


async def test_who_asks_no_model_costs_nothing_and_says_so(
    stage: Stage, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.run(plugin)

    done, step = await answer(stage, LlmRequest(task=EXTRACT.name, messages=REQUEST.messages, inputs=INPUTS))

    assert (done.method, done.cost_usd, done.prices) == ("extractive", 0, None)
    assert (step.facts["cost_usd"], step.facts["prices"]) == ("0", None)
