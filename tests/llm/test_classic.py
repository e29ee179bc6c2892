"""The example of the classic set-up does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenobus_contracts import LlmRequest, Message
from stenobus_llm.failures import Failure
from stenobus_llm.quota import limits
from stenobus_llm.selection import candidates
from stenobus_llm.settings import Settings

CLASSIC = Path(__file__).parents[2] / "examples" / "llm" / "classic.toml"


@pytest.fixture
def classic(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STENOBUS_CONFIG", str(CLASSIC))
    return Settings.load("llm")


def request(tokens: int, task: str = "monitor.sum") -> LlmRequest:
    return LlmRequest(task=task, messages=(Message(role="user", content="x" * int((tokens - 4) * 3.5)),))


@pytest.mark.parametrize(
    ("tokens", "first"),
    [(5, "int4"), (1999, "int4"), (2000, "fp16"), (7999, "fp16"), (8000, "openai"), (32000, "openai")],
)
@pytest.mark.parametrize("strategy", ["quality", "cost"])
def test_prompts_go_by_their_length(classic: Settings, tokens: int, first: str, strategy: str) -> None:
    settings = classic.model_copy(update={"strategy": strategy})

    able = [each.target.name for each in candidates(settings, request(tokens)) if each.refusal is None]

    assert able[0] == first
    assert "bedrock" not in able


def test_what_is_longer_is_refused(classic: Settings) -> None:
    with pytest.raises(Failure, match="max_prompt_tokens is 32000"):
        candidates(classic, request(32001))


@pytest.mark.parametrize("tokens", [100, 6000, 31000])
def test_documents_go_to_bedrock(classic: Settings, tokens: int) -> None:
    assert candidates(classic, request(tokens, "documents.extract"))[0].target.name == "bedrock"


def test_bedrock_gets_ten_requests_and_a_hundred_thousand_tokens_a_minute(classic: Settings) -> None:
    found = {name: (limit.rate * 60, limit.capacity) for name, limit in limits(classic).items()}

    assert found == {
        "bedrock.requests": (pytest.approx(10), 10),
        "bedrock.tokens": (pytest.approx(100_000), 100_000),
    }


def test_prompts_that_must_not_leave_stay_with_the_two_models_at_home(classic: Settings) -> None:
    kept = request(100).model_copy(update={"local_only": True})

    assert [each.target.name for each in candidates(classic, kept) if each.refusal is None] == ["int4", "fp16"]


def test_the_names_people_use_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_CONFIG", str(CLASSIC))
    for name, value in {
        "LLM_INT4_HOST": "gpu1", "LLM_INT4_PORT": "9000", "LLM_FP16_HOST": "gpu2", "BEDROCK_MODEL_ID": "claude:9",
        "OPENAI_API_KEY": "sk-1", "LLM_ROUTING_STRATEGY": "latency",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    settings = Settings.load("llm")
    known = {target.name: target for target in settings.all_targets}

    assert list(known) == ["int4", "fp16", "openai", "bedrock", "extractive"]
    assert (known["int4"].base_url, known["int4"].below_tokens) == ("http://gpu1:9000/v1", 2000)
    assert known["fp16"].base_url == "http://gpu2:8001/v1"
    assert (known["bedrock"].model, known["bedrock"].tasks) == ("claude:9", ("documents.*",))
    assert known["openai"].key().get_secret_value() == "sk-1"  # type: ignore[union-attr]
    assert settings.strategy == "latency"
