"""What Prometheus sees of the router."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from stenobus_bus.stats import Histogram
from stenobus_contracts import LlmDone, LlmError, LlmRequest, Message
from stenobus_llm import plugin
from stenobus_llm.bill import Spent
from stenobus_llm.figures import MOST_TASKS, OTHER, Figures
from stenobus_testing.stage import Stage

REQUEST = LlmRequest(cache=False, task="acme.ask", messages=(Message(role="user", content="Why?"),))


def told(figures: Figures) -> dict[str, Mapping[tuple[str, ...], Any]]:
    return {figure.name: figure.rows for figure in figures.told()}


async def test_requests_calls_tokens_cost_and_failures_are_counted_by_target_and_task(
    stage: Stage, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"base_url": server.url, "model": "m", "timeout": 10}
    priced = {"input_price_per_million": 1, "output_price_per_million": 2}
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps([{"name": "a", **common, **priced}, {"name": "b", **common}]))
    monkeypatch.setenv("STENOBUS_LLM_FALLBACK", json.dumps({"truncated": ["b"]}))
    server.completes("half", finish="length", usage=(100, 50))
    server.completes("whole", usage=(10, 5))
    server.completes("whole", usage=(100, 50))
    host = await stage.run(plugin)

    for _ in range(2):
        await stage.publish(REQUEST)
        await stage.run_until_idle()

    rows = {figure.name: figure.rows for figure in plugin.known_figures(host.states["llm"])}
    a, b = ("a", "acme.ask"), ("b", "acme.ask")
    assert rows["requests"] == {(*b, "ok"): 1, (*a, "ok"): 1}
    assert rows["calls"] == {a: 2, b: 1}
    assert rows["call_failures"] == {(*a, "truncated"): 1}
    assert rows["tokens"][*a, "input"] == 200 and rows["tokens"][*b, "output"] == 5
    assert rows["cost_usd"][a] == pytest.approx(0.0004) and rows["unpriced_calls"] == {a: 0, b: 1}
    seconds = rows["seconds"][a]
    assert isinstance(seconds, Histogram) and sum(seconds.counts) == 1
    assert rows["first_token_seconds"] == {}


def test_an_answer_counts_by_its_result() -> None:
    figures, done = Figures(), LlmDone(request_id="1", task="t", provider="a", seconds=2, first_token_seconds=0.3)
    figures.request(done)
    figures.request(done.model_copy(update={"cached": True}))
    figures.request(done.model_copy(update={"error": LlmError(code="over_budget", message="no")}))

    rows = told(figures)
    assert {labels[2] for labels in rows["requests"]} == {"ok", "cached", "over_budget"}
    assert sum(rows["first_token_seconds"]["a", "t"].counts) == 2


def test_names_of_tasks_from_outside_do_not_grow_the_figures_for_ever() -> None:
    figures = Figures()
    for number in range(1000):
        figures.call(f"{number}" + "x" * 10_000, Spent(target="a", calls=1, cost_usd=Decimal(1)), None)

    rows = told(figures)
    assert len(rows["calls"]) == MOST_TASKS + 1 and rows["calls"]["a", OTHER] == 1000 - MOST_TASKS
    assert max(len(task) for _, task in rows["calls"]) == 64
