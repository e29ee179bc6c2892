"""Settings of the router: its targets, their order, and where to turn when one fails."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator, model_validator

from stenobus_contracts import Capability
from stenobus_core import PluginSettings
from stenobus_core.cache import TTL
from stenobus_core.sensitive import FINDERS, Kind

from .failures import Code
from .patterns import Patterns
from .prices import Prices

#: Deliveries of one request, at most: the ceiling of :attr:`Settings.attempts`.
MAX_ATTEMPTS = 10
EXTRACTIVE = "extractive"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4.1-mini"
#: What OpenAI's chat models of today can do.
_OPENAI_ABLE: Final[frozenset[Capability]] = frozenset({"tools", "vision", "streaming"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Target(BaseModel):
    """One place that answers requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="what requests and answers call it")
    kind: Literal["openai", "bedrock", "extractive"] = Field(default="openai", description="the protocol it speaks")
    base_url: str = Field(default=OPENAI_URL, description="OpenAI-compatible URL, such as http://127.0.0.1:8000/v1")
    region: str | None = Field(default=None, description="AWS region of a bedrock target; AWS_REGION when absent")
    stream: bool = Field(
        default=False, description="fetch answers piece by piece, so that a long one keeps its connection busy"
    )
    cache_point: bool = Field(
        default=False,
        description="let a bedrock model keep tools and system prompt, which it then reads for less; some models can",
    )
    model: str | None = Field(default=None, description="model to ask for; the first one the server lists when absent")
    api_key: SecretStr | None = Field(default=None, description="the key itself; better a variable or a file")
    api_key_env: str | None = Field(default=None, description="environment variable that holds the key")
    api_key_file: Path | None = Field(default=None, description="file that holds the key, such as a mounted secret")
    timeout: float = Field(default=300, gt=0, le=1800, description="seconds for one whole completion")
    silence: float = Field(
        default=60, gt=0, le=1800, description="seconds between two pieces of an answer that is streamed"
    )
    connect_timeout: float = Field(default=10, gt=0, description="seconds to reach the server")
    context_window: int | None = Field(default=None, ge=1, description="tokens of prompt and answer together")
    tokenise: bool = Field(
        default=False,
        description="let the server count a prompt that comes near the context window (vLLM's /tokenize): an estimate "
        "may be wrong by a half",
    )
    output_limit: int | None = Field(default=None, ge=1, description="most tokens of one answer")
    from_tokens: int = Field(default=0, ge=0, description="shorter prompts are for other targets")
    below_tokens: int | None = Field(default=None, ge=1, description="prompts of so many tokens are for other targets")
    tasks: tuple[str, ...] = Field(
        default=(), description="reserved for these tasks, such as documents.*, which come here first"
    )
    concurrency: int | None = Field(default=None, ge=1, description="requests at once, per process")
    requests_per_minute: int | None = Field(default=None, ge=1, description="over all processes")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="of prompts and answers, over all processes; what never fits is refused"
    )
    capabilities: frozenset[Capability] = Field(
        default=frozenset(), description="what requests may need: tools, vision, streaming; json_schema follows"
    )
    local: bool | None = Field(
        default=None, description="whether prompts stay with you; when absent, at addresses of this host only"
    )
    redact: bool | None = Field(
        default=None, description="hide from it what redact_kinds names; when absent, where the target is not local"
    )
    quality: float = Field(default=0, description="rank for the strategy quality; the highest is asked first")
    structured: Literal["json_schema", "json_object", "prompt"] = Field(
        default="json_schema",
        description="how the server is asked for JSON: by schema, by its JSON mode and the prompt, by the prompt alone",
    )
    bound_items: int | None = Field(
        default=None, ge=1, description="longest array, where a schema has no limit; keeps small models in bounds"
    )
    bound_characters: int | None = Field(default=None, ge=1, description="longest string, where a schema has no limit")
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="further fields of every request's body")
    omit: frozenset[str] = Field(
        default=frozenset(), description="fields the model refuses, such as temperature or max_completion_tokens"
    )
    input_price_per_million: Decimal | None = Field(
        default=None, ge=0, description="US dollars; both as the price tables have them when either is absent"
    )
    output_price_per_million: Decimal | None = Field(default=None, ge=0, description="US dollars")
    cached_price_per_million: Decimal | None = Field(
        default=None,
        ge=0,
        description="US dollars, of prompt tokens that the provider had read before; as input if absent",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.below_tokens is not None and self.below_tokens <= self.from_tokens:
            raise ValueError(f"the target {self.name} takes no prompt: below_tokens must be above from_tokens")
        if self.tokenise and self.kind != "openai":
            raise ValueError(f"the target {self.name} cannot tokenise: only servers of kind openai may offer that")
        if self.kind == "bedrock" and not self.model:
            raise ValueError(f"the target {self.name} needs a model, such as a Bedrock model or inference profile id")
        return self

    @property
    def abilities(self) -> frozenset[Capability]:
        """What requests may need, enforced schemas among it where the server is asked for them."""
        enforced = self.kind != EXTRACTIVE and self.structured == "json_schema"
        return self.capabilities | {"json_schema"} if enforced else self.capabilities

    @property
    def stays(self) -> bool:
        """Whether prompts stay with whoever runs this."""
        if self.kind == EXTRACTIVE:
            return True
        if self.local is None:
            return self.kind == "openai" and urlsplit(self.base_url).hostname in _LOOPBACK
        return self.local

    @property
    def address(self) -> str:
        """The URL for people, without credentials that it may hold."""
        if self.kind == "bedrock" and "base_url" not in self.model_fields_set:
            return f"bedrock in {self.region or 'the region of AWS_REGION'}"
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def key(self, environ: Mapping[str, str] = os.environ) -> SecretStr | None:
        """The API key, or None when the target needs none.

        Raises:
            LookupError: a variable or file is named, but there is no key in it.
        """
        if self.api_key is not None:
            return self.api_key
        if self.api_key_env:
            if not environ.get(self.api_key_env):
                raise LookupError(f"the environment variable {self.api_key_env} is not set")
            return SecretStr(environ[self.api_key_env])
        if self.api_key_file:
            try:
                text = self.api_key_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise LookupError(f"the key file {self.api_key_file} cannot be read: {error.strerror}") from error
            if not text:
                raise LookupError(f"the key file {self.api_key_file} is empty")
            return SecretStr(text)
        return None


class Rule(BaseModel):
    """A budget: what some callers may spend in a period."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="what refusals call it")
    callers: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="sources of the requests, such as stenobus/documents-* or acme/*"
    )
    each_caller: bool = Field(default=False, description="each of them has this budget, instead of all together")
    per: Literal["run", "hour", "day", "month"] = Field(description="each run, or a period in UTC")
    tokens: int | None = Field(default=None, ge=1, description="of prompts and answers")
    usd: Decimal | None = Field(default=None, gt=0, description="US dollars")
    unknown_price: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="what becomes of a target whose price is unknown, where the budget is in US dollars",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.tokens is None and self.usd is None:
            raise ValueError(f"the budget {self.name} limits nothing: give it tokens, usd, or both")
        return self

    @property
    def limits(self) -> dict[str, Decimal]:
        """Most of each unit."""
        tokens = {} if self.tokens is None else {"tokens": Decimal(self.tokens)}
        return tokens if self.usd is None else {**tokens, "usd": self.usd}


class Settings(PluginSettings):
    """Targets are tried in their order: the first one that can take a request answers it; extractive comes last."""

    targets: tuple[Target, ...] = Field(default=(), description="places that answer requests")
    default: str = Field(
        default="auto", description="target of a request that names none; auto: the first able one, else extractive"
    )
    strategy: Literal["quality", "cost", "latency"] = Field(
        default="quality",
        validation_alias=AliasChoices("strategy", "STENOBUS_LLM_STRATEGY", "LLM_ROUTING_STRATEGY"),
        description="who is asked first: the highest quality, the lowest price, or the quickest; then as listed",
    )
    max_prompt_tokens: int | None = Field(default=None, ge=1, description="longer prompts are refused")
    local_only: bool = Field(default=False, description="send no prompt to a target that is not local")
    redact: bool = Field(
        default=True, description="hide secrets, addresses and account numbers from targets that are not local"
    )
    redact_kinds: frozenset[Kind] = Field(default=frozenset(FINDERS), description="what is hidden")
    redact_patterns: dict[str, str] = Field(
        default_factory=dict,
        description="regular expressions of what is hidden as well, by name, such as {ticket = 'ACME-\\d+'}",
    )
    cache_ttl: float = Field(
        default=TTL,
        ge=0,
        le=TTL,
        description="seconds for which an answer is given again to an identical request; 0 for never",
    )
    fallback: dict[Code, tuple[str, ...]] = Field(
        default_factory=dict,
        description="targets to ask next, by class of failure, such as {overloaded = ['cloud']}",
    )
    prices: Path | None = Field(
        default=None, description="file of prices that come before those that the plugin brings along"
    )
    budgets: tuple[Rule, ...] = Field(default=(), description="what callers and runs may spend")
    attempts: int = Field(
        default=4, ge=1, le=MAX_ATTEMPTS, description="tries of a transient failure before the asker hears of it"
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="failures in a row after which a target is left alone for a while"
    )
    breaker_pause: float = Field(
        default=30.0, gt=0, le=3600, description="seconds of that while, longer each time the target fails again"
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_api_key", "STENOBUS_LLM_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="adds the target openai",
    )
    openai_base_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "openai_base_url", "STENOBUS_LLM_OPENAI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"
        ),
        description="adds the target openai, here",
    )
    openai_model: str | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_model", "STENOBUS_LLM_OPENAI_MODEL", "OPENAI_MODEL"),
        description=f"model of the target openai; {OPENAI_MODEL} at OpenAI, else the first one the server lists",
    )

    int4_host: str | None = Field(
        default=None,
        validation_alias=AliasChoices("int4_host", "STENOBUS_LLM_INT4_HOST", "LLM_INT4_HOST"),
        description="adds the target int4 for prompts below 2000 tokens, or is its host where one is listed",
    )
    int4_port: int = Field(
        default=8000,
        validation_alias=AliasChoices("int4_port", "STENOBUS_LLM_INT4_PORT", "LLM_INT4_PORT"),
        description="port of int4_host",
    )
    fp16_host: str | None = Field(
        default=None,
        validation_alias=AliasChoices("fp16_host", "STENOBUS_LLM_FP16_HOST", "LLM_FP16_HOST"),
        description="adds the target fp16 for prompts below 8000 tokens, or is its host where one is listed",
    )
    fp16_port: int = Field(
        default=8001,
        validation_alias=AliasChoices("fp16_port", "STENOBUS_LLM_FP16_PORT", "LLM_FP16_PORT"),
        description="port of fp16_host",
    )
    bedrock_model_id: str | None = Field(
        default=None,
        validation_alias=AliasChoices("bedrock_model_id", "STENOBUS_LLM_BEDROCK_MODEL_ID", "BEDROCK_MODEL_ID"),
        description="adds the target bedrock, or is its model where one is listed",
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        le=1800,
        validation_alias=AliasChoices("timeout", "STENOBUS_LLM_TIMEOUT", "LLM_TIMEOUT"),
        description="seconds for one completion at targets that state none of their own; 300 when absent",
    )

    @model_validator(mode="after")
    def _priced(self) -> Self:
        self.known_prices  # noqa: B018 -- read now, so that a wrong file is a wrong setting
        return self

    @cached_property
    def known_prices(self) -> Prices:
        """What the targets cost."""
        return Prices.load(self.prices)

    @model_validator(mode="after")
    def _names(self) -> Self:
        budgets = [rule.name for rule in self.budgets]
        if twice := sorted({name for name in budgets if budgets.count(name) > 1}):
            raise ValueError(f"two budgets are called {twice[0]}; every budget needs a name of its own")
        listed = [target.name for target in self.targets]
        if twice := sorted({name for name in listed if listed.count(name) > 1}):
            raise ValueError(f"two targets are called {twice[0]}; every target needs a name of its own")
        names = [target.name for target in self.all_targets]
        if "auto" in names:
            raise ValueError("a target cannot be called auto, which means whichever is able; give it another name")
        asked = {name for chain in self.fallback.values() for name in chain} | ({self.default} - {"auto"})
        if unknown := sorted(asked - set(names)):
            raise ValueError(f"there is no target {unknown[0]}; known are {', '.join(names)}")
        return self

    @field_validator("redact_patterns")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        Patterns(value)
        return value

    def redacts(self, target: Target) -> bool:
        """Whether something is hidden from a target."""
        return self.redact and not target.stays if target.redact is None else target.redact

    @cached_property
    def all_targets(self) -> tuple[Target, ...]:
        """The configured targets, then those from the environment, then ``extractive``, which is always there."""
        targets = {target.name: target for target in self.targets}
        for name, host, port, below in (
            ("int4", self.int4_host, self.int4_port, 2000),
            ("fp16", self.fp16_host, self.fp16_port, 8000),
        ):
            if host:
                listed = targets.get(name, Target(name=name, below_tokens=below, local=True))
                targets[name] = _changed(listed, base_url=f"http://{host}:{port}/v1")
        if (self.openai_api_key or self.openai_base_url) and "openai" not in targets:
            url = self.openai_base_url or OPENAI_URL
            model = self.openai_model or (OPENAI_MODEL if url == OPENAI_URL else None)
            able = _OPENAI_ABLE if url == OPENAI_URL else frozenset()
            targets["openai"] = Target(
                name="openai", base_url=url, model=model, api_key=self.openai_api_key, capabilities=able
            )
        if self.bedrock_model_id:
            # Whether that model enforces schemas is not known.
            plain = Target(
                name="bedrock", kind="bedrock", model=self.bedrock_model_id, structured="prompt", stream=True
            )
            targets["bedrock"] = _changed(targets.get("bedrock", plain), model=self.bedrock_model_id)
        targets.setdefault(EXTRACTIVE, Target(name=EXTRACTIVE, kind="extractive"))
        if self.timeout is None:
            return tuple(targets.values())
        return tuple(
            target if "timeout" in target.model_fields_set else _changed(target, timeout=self.timeout)
            for target in targets.values()
        )


def _changed(target: Target, **changes: Any) -> Target:
    return target.model_copy(update=changes)
