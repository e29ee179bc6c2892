"""Ask for a task's answer: cached, validated, repaired once, its usage kept beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import Field, JsonValue, ValidationError

from stenobus_contracts import LlmDone, LlmRequest, Message, Method, Model, StageUsage, Task, TokenUsage
from stenobus_core import AnswerRefused, Context, PermanentError, PluginSettings

from .prompts import Prompt, prompt

M = TypeVar("M", bound=Model)

#: Of an answer that has to be repaired, so much goes back: enough to correct it, not enough to double the cost.
_SHOWN = 8000
#: Error codes that less text at a time mends.
_TOO_LONG = frozenset({"truncated", "context_too_long", "over_limit"})


class AskingSettings(PluginSettings):
    """What every stage that asks a language model can be told."""

    target: str | None = Field(default=None, description="name of the provider to ask; the router chooses when absent")
    request_timeout: float = Field(default=600, gt=0, description="seconds to wait for one answer")
    max_output_tokens: int | None = Field(
        default=None, ge=64, description="limit of one answer; the provider's own limit when absent"
    )


class Answer(Model, Generic[M]):
    """A valid answer and what it took."""

    value: M
    usage: StageUsage


class CutOff(PermanentError):
    """Prompt or answer were too long for the model: asking again for the same would end there again."""


@dataclass(frozen=True)
class Question(Generic[M]):
    """What one stage asks. ``version`` goes up when the stage's code would treat the same answer differently."""

    stage: str
    version: int
    task: Task
    output: type[M]

    @property
    def prompt(self) -> Prompt:
        """The stage's prompt file."""
        return prompt(self.stage)

    async def ask(self, ctx: Context[Any, Any], settings: AskingSettings, inputs: Model, **fields: str) -> Answer[M]:
        """The answer for these inputs, from the cache where it was answered before.

        Raises:
            CutOff: the answer was longer than the output limit.
            PermanentError: the answer did not fit its schema, not even after a repair.
            RetryableError: the router says that it may work later.
        """
        schema = closed(self.output.model_json_schema())
        data: dict[str, JsonValue] = inputs.model_dump(mode="json", exclude_none=True)
        request = LlmRequest(
            task=self.task.name,
            messages=self.prompt.messages(**fields),
            inputs=data,
            response_schema=schema,
            max_output_tokens=settings.max_output_tokens,
            target=settings.target,
        )
        facts = await ctx.facts(LlmRequest)
        return await ctx.cached(
            Answer[self.output],  # type: ignore[name-defined]
            lambda: self._ask(ctx, request, settings.request_timeout),
            {
                "stage": self.stage,
                "version": self.version,
                "prompt": self.prompt.key,
                "schema": _digest(schema),
                "target": settings.target,
                "offered": facts,  # the same question to another model is another question
                "max_output_tokens": settings.max_output_tokens,
                "inputs": _digest(data),
            },
        )

    async def _ask(self, ctx: Context[Any, Any], request: LlmRequest, timeout: float) -> Answer[M]:
        first = await _request(ctx, request, timeout)
        usage = self._usage(first)
        try:
            return Answer(value=self._read(first), usage=usage)
        except ValidationError as error:
            complaint = _complaint(error)
        if first.finish_reason == "length":
            raise CutOff(
                f"The answer to {self.task.name} was cut off at the output limit; raise max_output_tokens of "
                f"documents-{self.stage} or give it less text at a time."
            )
        ctx.log.info("answer repaired", task=self.task.name, provider=first.provider, error=complaint)
        again = request.model_copy(
            update={
                "messages": (
                    *request.messages,
                    Message(role="assistant", content=first.text[:_SHOWN] or json.dumps(first.data)[:_SHOWN]),
                    prompt("repair").messages(error=complaint)[-1],
                )
            }
        )
        second = await _request(ctx, again, timeout)
        try:
            return Answer(value=self._read(second), usage=total(self.stage, (usage, self._usage(second))))
        except ValidationError as error:
            raise PermanentError(
                f"{second.provider} answered {self.task.name} twice with something that does not fit its schema "
                f"({_complaint(error)}); set target of documents-{self.stage} to another provider or model."
            ) from None

    def _read(self, done: LlmDone) -> M:
        if done.data is None:
            return self.output.model_validate_json(done.text)
        return self.output.model_validate(done.data)

    def _usage(self, done: LlmDone) -> StageUsage:
        return StageUsage(
            stage=self.stage,
            method=done.method,
            provider=done.provider,
            model=done.model,
            prompt=self.prompt.id,
            tokens=done.usage,
            cost_usd=done.cost_usd,
            calls=1,
        )


def total(stage: str, usages: Iterable[StageUsage], warnings: Iterable[str] = ()) -> StageUsage:
    """What several answers took together; a stage that asked nobody is local and free."""
    parts = list(usages)
    methods = {part.method for part in parts}
    method: Method = "model" if "model" in methods else "extractive" if "extractive" in methods else "local"
    costs = [part.cost_usd for part in parts]
    known = [cost for cost in costs if cost is not None]
    return StageUsage(
        stage=stage,
        method=method,
        provider=_names(part.provider for part in parts),
        model=_names(part.model for part in parts),
        prompt=_names(part.prompt for part in parts),
        tokens=sum((part.tokens for part in parts), TokenUsage()),
        cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
        calls=sum(part.calls for part in parts),
        warnings=(*(warning for part in parts for warning in part.warnings), *warnings),
    )


def closed(schema: JsonValue) -> Any:
    """The schema with every object closed and whole: a model must neither invent fields nor leave any out."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(value) for key, value in schema.items()}
    if parts.get("type") == "object" and "properties" in parts:
        parts["additionalProperties"] = False
        parts["required"] = list(parts["properties"])  # an empty answer would fit otherwise, and small models give it
    return parts


async def _request(ctx: Context[Any, Any], request: LlmRequest, timeout: float) -> LlmDone:
    try:
        done = await ctx.request(request, timeout=timeout)
    except AnswerRefused as refused:
        code = refused.answer.error.code
        if code in _TOO_LONG:
            raise CutOff(str(refused)) from None
        if code != "invalid_answer":
            raise
        done = refused.answer
    if not isinstance(done, LlmDone):
        raise PermanentError(f"{request.task} was answered with {type(done).__name__}; only llm.done can answer it.")
    return done


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the answer"
    return f"{where}: {first['msg']}"[:500]


def _digest(value: JsonValue) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _names(names: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(name for name in names if name)) or None
