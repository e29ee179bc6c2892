"""Who gets a request: bands of tokens, what it needs, where it may go, and the strategy."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stenobus_contracts import LlmRequest, Message
from stenobus_llm.cli import llm
from stenobus_llm.failures import Failure
from stenobus_llm.router import Router
from stenobus_llm.selection import Latencies, candidates
from stenobus_llm.settings import Settings, Target


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def request(tokens: int = 100, task: str = "acme.ask", **changes: Any) -> LlmRequest:
    """A request of exactly so many estimated tokens."""
    return LlmRequest(task=task, messages=(Message(role="user", content="x" * int((tokens - 4) * 3.5)),), **changes)


def target(name: str, **changes: Any) -> Target:
    return Target(name=name, base_url="http://127.0.0.1:1/v1", **changes)


def settings(*targets: Target, **changes: Any) -> Settings:
    return Settings(targets=targets, **changes)


def order(settings: Settings, asked: LlmRequest, latencies: Latencies | None = None) -> list[str]:
    """The able ones, first choice first."""
    return [each.target.name for each in candidates(settings, asked, latencies) if each.refusal is None]


def reason(settings: Settings, asked: LlmRequest, name: str) -> str:
    return next(each.told([]).reason for each in candidates(settings, asked) if each.target.name == name)


# --- what makes the allowed set --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "able"),
    [(1999, ["small", "middle"]), (2000, ["middle"]), (7999, ["middle"]), (8000, ["large"]), (31999, ["large"])],
)
def test_the_band_of_tokens_decides_who_may_take_it(tokens: int, able: list[str]) -> None:
    bands = settings(
        target("small", below_tokens=2000), target("middle", below_tokens=8000), target("large", from_tokens=8000)
    )

    assert order(bands, request(tokens)) == able


def test_what_is_longer_than_the_settings_allow_is_refused_with_both_numbers() -> None:
    with pytest.raises(Failure, match=r"about 32001 tokens .* max_prompt_tokens is 32000") as caught:
        candidates(settings(target("any"), max_prompt_tokens=32000), request(32001))

    assert (caught.value.code, caught.value.retryable) == ("context_too_long", False)


def test_a_target_that_takes_no_prompt_is_refused_as_a_setting() -> None:
    with pytest.raises(ValueError, match="takes no prompt"):
        target("none", from_tokens=8, below_tokens=8)


def test_a_reserved_target_gets_its_tasks_first_and_no_others() -> None:
    known = settings(target("any", quality=9), target("claude", tasks=("documents.*",)))

    assert order(known, request(task="documents.write")) == ["claude", "any"]
    assert order(known, request(task="monitor.sum")) == ["any"]
    assert "reserved for documents.*" in reason(known, request(), "claude")


def test_who_names_a_target_is_bound_by_no_band_and_no_reservation() -> None:
    known = settings(target("claude", tasks=("documents.*",), from_tokens=5000))

    assert order(known, request(target="claude")) == ["claude"]


# --- what filters it -------------------------------------------------------------------------------------------------


def test_a_prompt_that_must_not_leave_goes_to_local_targets_only() -> None:
    known = settings(
        Target(name="cloud", base_url="https://cloud.example/v1"),
        Target(name="rack", base_url="http://rack.example/v1", local=True),
        target("here"),
    )

    assert order(known, request()) == ["cloud", "rack", "here"]
    assert order(known, request(local_only=True)) == ["rack", "here"]
    assert order(settings(*known.targets, local_only=True), request()) == ["rack", "here"]
    assert "must not leave" in reason(known, request(local_only=True), "cloud")
    assert order(known, request(local_only=True, target="cloud")) == []  # nor by name


def test_a_target_without_what_a_request_needs_is_left_out() -> None:
    known = settings(
        target("plain", structured="prompt"), target("schema"), target("tools", capabilities=frozenset({"tools"}))
    )

    assert order(known, request(needs=("json_schema",))) == ["schema", "tools"]
    assert order(known, request(needs=("json_schema", "tools"))) == ["tools"]
    assert reason(known, request(needs=("tools", "json_schema")), "plain").endswith(
        "does not offer json_schema, tools."
    )


def test_a_longer_answer_than_a_target_writes_is_for_another() -> None:
    known = settings(target("short", output_limit=1000), target("long", output_limit=4000))

    assert order(known, request(max_output_tokens=1001)) == ["long"]


# --- what orders it --------------------------------------------------------------------------------------------------


def priced(name: str, price: str | None, **changes: Any) -> Target:
    cost = None if price is None else Decimal(price)
    return target(name, input_price_per_million=cost, output_price_per_million=cost, **changes)


def test_quality_asks_the_best_first_and_equals_as_they_are_listed() -> None:
    known = settings(target("a", quality=1), target("b", quality=3), target("c", quality=3))

    assert order(known, request()) == ["b", "c", "a"]


def test_cost_asks_the_cheapest_first_and_those_of_unknown_price_last() -> None:
    known = settings(priced("unknown", None), priced("dear", "5"), priced("free", "0"), strategy="cost")

    assert order(known, request()) == ["free", "dear", "unknown"]
    assert reason(known, request(), "unknown") == "able, but comes later: its price is unknown"


def test_cost_counts_prompt_and_answer() -> None:
    reader = target("reader", input_price_per_million=Decimal(1), output_price_per_million=Decimal(10))
    writer = target("writer", input_price_per_million=Decimal(2), output_price_per_million=Decimal(2))
    known = settings(reader, writer, strategy="cost")

    assert order(known, request(10_000, max_output_tokens=100)) == ["reader", "writer"]
    assert order(known, request(100, max_output_tokens=10_000)) == ["writer", "reader"]


def test_latency_asks_the_quickest_and_measures_everybody_again_after_a_while() -> None:
    now = 0.0
    latencies = Latencies(lambda: now)
    known = settings(target("slow"), target("quick"), strategy="latency")
    latencies.add("slow", 4.0)
    assert order(known, request(), latencies) == ["quick", "slow"]  # not measured yet
    latencies.add("quick", 1.0)
    assert order(known, request(), latencies) == ["quick", "slow"]

    now = 200.0
    latencies.add("quick", 1.0)
    now = 301.0

    assert order(known, request(), latencies) == ["slow", "quick"]


@pytest.mark.parametrize("strategy", ["quality", "cost", "latency"])
def test_every_target_is_told_of_exactly_once_whatever_the_request(strategy: str) -> None:
    chance = random.Random(7)
    known = settings(
        *(
            target(
                f"t{number}",
                from_tokens=chance.choice([0, 500]),
                below_tokens=chance.choice([None, 4000]),
                context_window=chance.choice([None, 2000]),
                quality=chance.randint(0, 3),
            )
            for number in range(8)
        ),
        strategy=strategy,
    )
    for _ in range(200):
        asked = request(chance.randint(5, 9000), max_output_tokens=chance.choice([None, 500]))
        told = candidates(known, asked)

        assert sorted(each.target.name for each in told) == sorted(each.name for each in known.all_targets)
        assert all(each.told([]).reason for each in told)


# --- what the asker hears --------------------------------------------------------------------------------------------


async def test_the_answer_says_of_every_target_why_it_was_asked_or_not(server: Any) -> None:
    reachable = {"base_url": server.url, "model": "m"}
    router = Router(
        settings(
            Target(name="small", below_tokens=50, **reachable),
            Target(name="best", quality=2, **reachable),
            Target(name="spare", quality=1, **reachable),
            fallback={"overloaded": ("spare",)},
        )
    )
    server.fails(503)
    server.completes("Because.")

    done = (await router.answer(request())).done(request(), "1")
    await router.close()

    assert [(each.target, each.asked) for each in done.candidates] == [
        ("best", True), ("spare", True), ("small", False), ("extractive", False),
    ]  # fmt: skip
    assert done.candidates[0].reason == "asked: quality 2"
    assert "below 50 tokens" in done.candidates[2].reason


async def test_when_nobody_takes_it_the_reason_is_that_of_whom_it_was_meant_for() -> None:
    router = Router(settings(target("claude", tasks=("documents.*",), quality=9), target("small", context_window=50)))

    done = (await router.answer(request())).done(request(), "1")
    await router.close()

    assert done.error is not None and done.error.code == "context_too_long"
    assert "context window of the target small is 50" in done.error.message
    assert [each.target for each in done.candidates] == ["claude", "small", "extractive"]  # the order of choice


# --- stenobus llm explain --------------------------------------------------------------------------------------------


@pytest.fixture
def two_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [{"name": "small", "base_url": "http://127.0.0.1:1/v1", "below_tokens": 50}, {"name": "cloud"}]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))


@pytest.mark.usefixtures("two_targets")
def test_explain_shows_who_would_be_asked_and_why() -> None:
    result = CliRunner().invoke(llm, ["explain", "-"], input="x" * 350)

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "About 104 tokens (estimated), strategy quality"
    assert lines[2].split() == ["→", "cloud", "would", "be", "asked:", "quality", "0"]
    assert "takes prompts below 50 tokens" in lines[1]


@pytest.mark.usefixtures("two_targets")
def test_explain_fails_when_nobody_can_take_it() -> None:
    result = CliRunner().invoke(llm, ["explain", "-", "--local-only", "--json"], input="x" * 350)

    assert result.exit_code == 1
    found = json.JSONDecoder().raw_decode(result.stdout)[0]
    assert (found["tokens"], found["target"]) == (104, None)
    assert {each["target"]: each["asked"] for each in found["candidates"]} == {
        "small": False, "cloud": False, "extractive": False,
    }  # fmt: skip


def test_explain_of_a_target_that_does_not_exist_names_those_that_do() -> None:
    result = CliRunner().invoke(llm, ["explain", "-", "--target", "gpt"], input="Why?")

    assert (result.exit_code, "known are extractive" in result.output) == (1, True)
