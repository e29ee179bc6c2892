"""What tokens cost, and as of when."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import TokenUsage
from stenobus_core.errors import SettingsError
from stenobus_llm.prices import Price, Prices, Table, shipped
from stenobus_llm.settings import OPENAI_MODEL, OPENAI_URL, Settings, Target

USAGE = TokenUsage(input=1_000, output=333)


def openai(model: str = "gpt-4.1-mini", url: str = OPENAI_URL, **more: Any) -> Target:
    return Target(name="a", base_url=url, model=model, **more)


def bedrock(model: str) -> Target:
    return Target(name="a", kind="bedrock", model=model)


def price(target: Target, file: Path | None = None) -> tuple[Decimal, str | None] | None:
    quote = Prices.load(file).quote(target)
    return (quote.price.input, quote.version) if quote else None


def test_the_table_is_dated_and_knows_the_model_that_is_asked_by_default() -> None:
    table = shipped()

    assert date.fromisoformat(table.version) <= date.today()
    assert price(openai(OPENAI_MODEL)) == (Decimal("0.40"), table.version)
    for known in (*table.openai.values(), *table.bedrock.values()):
        assert known.cached is not None and 0 < known.cached < known.input < known.output


def test_a_cost_is_exact() -> None:
    priced = Target(name="a", input_price_per_million="0.15", output_price_per_million="0.6")  # type: ignore[arg-type]

    assert Prices.load().cost(priced, USAGE) == Decimal("0.0003498")


def test_what_the_provider_had_read_before_costs_what_its_price_says_and_else_what_the_prompt_does() -> None:
    usage = TokenUsage(input=1_000, output=0, cached=400)
    stated = Target(name="a", input_price_per_million=Decimal(10), output_price_per_million=Decimal(1))
    cheaper = stated.model_copy(update={"cached_price_per_million": Decimal(1)})

    assert Prices.load().cost(stated, usage) == Decimal("0.01")
    assert Prices.load().cost(cheaper, usage) == Decimal("0.0064")


@pytest.mark.parametrize(
    "target",
    [
        openai("gpt-99"),
        openai("gpt-4.1-mini", "http://127.0.0.1:8000/v1"),  # somebody else's model of the same name
        openai("gpt-4.1-mini", "https://eu.api.openai.com/v1"),  # has a tariff of its own
        openai("gpt-4.1-mini", extra={"service_tier": "priority"}),
        bedrock("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"),
        Target(name="b", input_price_per_million=Decimal(1)),
    ],
)
def test_what_is_not_in_the_table_is_unknown_and_never_zero(target: Target) -> None:
    assert Prices.load().cost(target, USAGE) is None
    assert Prices.load().cost(target, TokenUsage()) == 0


def test_beyond_the_tariff_that_is_listed_the_price_is_unknown() -> None:
    listed = Price(input=Decimal(1), output=Decimal(1), up_to=1000)

    assert listed.cost(TokenUsage(input=1000, output=5)) is not None
    assert listed.cost(TokenUsage(input=1001, output=5)) is None


def test_snapshots_and_regions_cost_what_their_tariff_says() -> None:
    haiku = "anthropic.claude-haiku-4-5-20251001-v1:0"

    assert price(openai("gpt-4.1-mini-2025-04-14")) == price(openai("gpt-4.1-mini"))
    assert price(bedrock(f"us.{haiku}")) == price(bedrock(haiku)) == (Decimal("1.10"), shipped().version)
    assert price(bedrock(f"global.{haiku}")) == (Decimal("1.00"), shipped().version)


def test_who_asks_no_model_costs_nothing() -> None:
    assert Prices.load().cost(Target(name="c", kind="extractive"), USAGE) == 0


def test_a_target_comes_before_a_file_and_a_file_before_the_table(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('version = "ours"\n[openai]\n"gpt-4.1-mini" = { input = 7, output = 8 }\n')
    stated = {"input_price_per_million": Decimal(9), "output_price_per_million": Decimal(9)}

    assert price(openai(**stated), file) == (Decimal(9), "settings")
    assert price(openai(), file) == (Decimal(7), "ours")
    assert price(openai("gpt-4.1"), file) == (Decimal("2.00"), shipped().version)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        ("[openai]\n", "version"),
        ('version = "x"\n[openai]\nm = { input = -1, output = 1 }\n', "greater than or equal to 0"),
        ('version = "x"\n[openai]\nm = { input = 1 }\n', "output"),
        ("=", "is not one"),
        ("x" * 2_000_000, "too large"),
    ],
)
def test_a_file_that_is_none_of_prices_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, complaint: str
) -> None:
    file = tmp_path / "prices.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("STENOBUS_LLM_PRICES", str(file))

    with pytest.raises(SettingsError, match=complaint):
        Settings.load("llm")


def test_prices_are_read_as_they_are_written() -> None:
    table = Table.read('version = "x"\n[openai]\nm = { input = 0.1, output = 0.3 }\n')

    assert table.openai["m"].output == Decimal("0.3")
