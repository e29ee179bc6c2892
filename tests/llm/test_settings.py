"""Targets as people configure them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stenobus_core import SettingsError
from stenobus_llm.settings import Settings, Target


def names(settings: Settings) -> list[str]:
    return [target.name for target in settings.all_targets]


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_with_nothing_configured_there_is_the_extractive_target() -> None:
    assert names(Settings.load("llm")) == ["extractive"]


def test_a_key_in_the_environment_adds_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    openai, extractive = Settings.load("llm").all_targets

    assert (openai.name, openai.base_url, openai.model) == ("openai", "https://api.openai.com/v1", "gpt-4.1-mini")
    assert openai.capabilities == {"tools", "vision", "streaming"}
    assert openai.key().get_secret_value() == "sk-secret"  # type: ignore[union-attr]
    assert extractive.kind == "extractive"
    assert "sk-secret" not in repr(Settings.load("llm")) + repr(openai)


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_an_address_in_the_environment_adds_openai_with_the_servers_own_model(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:8000/v1")

    target = Settings.load("llm").all_targets[0]

    assert (target.name, target.base_url, target.model) == ("openai", "http://127.0.0.1:8000/v1", None)
    assert target.key() is None and not target.capabilities  # nobody knows what that server can do


def test_targets_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [{"name": "vllm", "base_url": "http://gpu:8000/v1", "context_window": 8192}]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))
    monkeypatch.setenv("STENOBUS_LLM_FALLBACK", '{"overloaded": ["extractive"]}')

    settings = Settings.load("llm")

    assert names(settings) == ["vllm", "extractive"]
    assert settings.fallback == {"overloaded": ("extractive",)}


def test_targets_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "stenobus.toml").write_text(
        """
        [llm]
        default = "cloud"
        openai_base_url = "http://gateway/v1"
        [llm.fallback]
        context_too_long = ["big"]
        [[llm.targets]]
        name = "cloud"
        model = "gpt-4.1"
        api_key_env = "ACME_KEY"
        input_price_per_million = 2.0
        output_price_per_million = 8.0
        [[llm.targets]]
        name = "big"
        base_url = "http://big:8000/v1"
        """
    )

    settings = Settings.load("llm")

    assert names(settings) == ["cloud", "big", "openai", "extractive"]
    assert settings.default == "cloud"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('default = "nowhere"', "there is no target nowhere"),
        ('[llm.fallback]\nthrottled = ["nowhere"]', "there is no target nowhere"),
        ('[[llm.targets]]\nname = "a"\n[[llm.targets]]\nname = "a"', "two targets are called a"),
        ('[[llm.targets]]\nname = "a"\nbase_uri = "http://x"', "Extra inputs are not permitted"),
        ('[[llm.targets]]\nname = "auto"', "cannot be called auto"),
        ("attempts = 0", "greater than or equal to 1"),
    ],
)
def test_what_is_configured_wrongly_is_said_in_a_sentence(tmp_path: Path, table: str, complaint: str) -> None:
    (tmp_path / "stenobus.toml").write_text(f"[llm]\n{table}\n")

    with pytest.raises(SettingsError, match=complaint):
        Settings.load("llm")


# --- names that people already use -----------------------------------------------------------------------------------


def test_hosts_in_the_environment_add_their_targets_with_their_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INT4_HOST": "gpu1", "FP16_HOST": "gpu2", "FP16_PORT": "9001", "TIMEOUT": "45"}.items():
        monkeypatch.setenv(f"LLM_{name}", value)
    monkeypatch.setenv("LLM_ROUTING_STRATEGY", "cost")

    settings = Settings.load("llm")
    int4, fp16, _ = settings.all_targets

    assert settings.strategy == "cost"
    assert (int4.name, int4.base_url, int4.below_tokens, int4.stays) == ("int4", "http://gpu1:8000/v1", 2000, True)
    assert (fp16.name, fp16.base_url, fp16.below_tokens, fp16.timeout) == ("fp16", "http://gpu2:9001/v1", 8000, 45)


def test_a_host_in_the_environment_is_that_of_the_listed_target(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Target(name="int4", model="qwen", below_tokens=500, timeout=7)
    monkeypatch.setenv("LLM_INT4_HOST", "gpu1")
    monkeypatch.setenv("LLM_TIMEOUT", "45")

    int4 = Settings(targets=(listed,)).all_targets[0]

    assert (int4.base_url, int4.model, int4.below_tokens) == ("http://gpu1:8000/v1", "qwen", 500)
    assert int4.timeout == 7  # its own


def test_an_unknown_strategy_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ROUTING_STRATEGY", "best")

    with pytest.raises(SettingsError, match="'quality', 'cost' or 'latency'"):
        Settings.load("llm")
