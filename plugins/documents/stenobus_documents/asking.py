"""Ask for a task's answer: kept by what it follows from, and asked for in halves where it would be cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import Field, JsonValue, ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import LlmDone, LlmRequest, Model, StageUsage, Task
from stenobus_core import AnswerRefused, Context, PermanentError, PluginSettings

from .prompts import Prompt, prompt
from .tally import Tally

M = TypeVar("M", bound=Model)
T = TypeVar("T")
R = TypeVar("R")

#: Error codes that less text at a time mends.
_TOO_LONG: Final = frozenset({"truncated", "context_too_long", "over_limit"})
#: Characters of the largest answer that is looked at: no task needs more, and a model that loops has no end.
LARGEST: Final = 1_000_000
#: How often a question whose answer is cut off is halved: eighths, or the model would loop on anything.
HALVINGS: Final = 3


class AskingSettings(PluginSettings):
    """What every stage that asks a language model can be told."""

    target: str | None = Field(default=None, description="name of the provider to ask; the router chooses when absent")
    request_timeout: float = Field(default=600, gt=0, description="seconds to wait for one answer")
    max_output_tokens: int | None = Field(
        default=None, ge=64, description="limit of one answer; the provider's own limit when absent"
    )


class Answer(Model, Generic[M]):
    """What came of a question, and what it took. An answer that was cut off is kept too: it was paid for."""

    value: M | None = None
    cut_off: str = ""
    usage: StageUsage
    payer: str = Field(default="", description="the event, and its replay, for which it was asked for")


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

    async def ask(
        self, ctx: Context[Any, Any], settings: AskingSettings, tally: Tally, inputs: Model, **fields: str
    ) -> M:
        """The answer for these inputs, from the cache where it was answered before.

        Args:
            tally: takes in what it took, or would have taken.
            inputs: the facts, for providers that work without a language model.
            fields: the same facts as texts, by their names in the prompt.

        Raises:
            CutOff: prompt or answer were longer than the limits; asking for less at a time helps.
            PermanentError: there is no answer that fits the schema, or none at all.
            RetryableError: the router says that it may work later.
        """
        schema = closed(self.output.model_json_schema())
        data: dict[str, JsonValue] = inputs.model_dump(mode="json", exclude_none=True)
        request = LlmRequest(
            task=self.task.name,
            messages=self.prompt.messages(getattr(inputs, "document_language", None), **fields),
            inputs=data,
            response_schema=schema,
            max_output_tokens=settings.max_output_tokens,
            target=settings.target,
        )
        payer = f"{ctx.event_id}/{ctx.replay or ''}"

        async def answer() -> Answer[M]:
            found = await self._ask(ctx, request, settings.request_timeout)
            return found.model_copy(update={"payer": payer})

        kept = await ctx.cached(
            Answer[self.output],  # type: ignore[name-defined]
            answer,
            {
                "stage": self.stage,
                "version": self.version,
                "prompt": self.prompt.key,
                "schema": _digest(schema),
                "target": settings.target,
                "offered": offered(await ctx.facts(LlmRequest), settings.target),
                "max_output_tokens": settings.max_output_tokens,
                "inputs": _digest(data),
                "messages": _digest([message.content for message in request.messages]),
            },
        )
        await tally.add(kept.usage, saved=kept.payer != payer)
        if kept.value is None:
            raise CutOff(
                f"{kept.cut_off} Raise max_output_tokens of documents-{self.stage}, set its target to a model that "
                "takes more, or give it less text at a time."
            )
        value: M = kept.value
        return value

    async def _ask(self, ctx: Context[Any, Any], request: LlmRequest, timeout: float) -> Answer[M]:
        try:
            done = await ctx.request(request, timeout=timeout)
        except AnswerRefused as refused:
            answer, code = refused.answer, refused.answer.error.code
            if code in _TOO_LONG and isinstance(answer, LlmDone):
                return Answer(cut_off=str(refused), usage=self._usage(answer))
            if code == "invalid_answer":
                raise PermanentError(f"{refused} {self._advice}") from None
            raise
        if not isinstance(done, LlmDone):
            raise PermanentError(
                f"{request.task} was answered with {type(done).__name__}; only llm.done can answer it."
            )
        size = len(json.dumps(done.data))
        if size > LARGEST:
            said = f"{request.task}: {done.provider} answered {size} characters; at most {LARGEST} are taken."
            return Answer(cut_off=said, usage=self._usage(done))
        try:
            return Answer(value=self.output.model_validate(done.data), usage=self._usage(done))
        except ValidationError as error:
            raise PermanentError(
                f"{done.provider} answered {request.task} with something that does not fit its schema "
                f"({_complaint(error)}). {self._advice}"
            ) from None

    @property
    def _advice(self) -> str:
        return f"Set target of documents-{self.stage} to another provider or model."

    def _usage(self, done: LlmDone) -> StageUsage:
        return StageUsage(
            stage=self.stage,
            method=done.method,
            provider=done.provider,
            model=done.model,
            prompt=self.prompt.id,
            tokens=done.usage,
            cost_usd=done.cost_usd,
            calls=max(1, done.calls),
        )


async def halve(
    parts: Sequence[T], ask: Callable[[Sequence[T]], Awaitable[R]], left: list[T], times: int = HALVINGS
) -> list[R]:
    """Answers about parts: one about all of them or, where that is cut off, one about each half, and so on.

    Args:
        parts: what is asked about.
        ask: asks about some of them; raises CutOff when prompt or answer are too long.
        left: takes the parts that even the smallest question was cut off for.
        times: how often they are halved.

    Raises:
        Exception: whatever else ``ask`` raises.
    """
    try:
        return [await ask(parts)]
    except CutOff:
        if times == 0 or len(parts) < 2:
            left.extend(parts)
            return []
    middle = len(parts) // 2
    first = await halve(parts[:middle], ask, left, times - 1)
    return first + await halve(parts[middle:], ask, left, times - 1)


def offered(facts: Mapping[str, JsonValue], target: str | None) -> JsonValue:
    """Who may answer, for the cache: the same question to another model is another question.

    How the targets are today, and how much they take, is no part of it: an outage must not make paid answers unusable.

    Args:
        facts: what the router says about itself.
        target: the target that will be asked; any of them when None.
    """
    targets = facts.get("targets")
    if not isinstance(targets, list):
        return dict(facts)
    known = [each for each in targets if isinstance(each, dict) and target in {None, each.get("name")}]
    who: list[JsonValue] = [{part: each.get(part) for part in ("name", "kind", "model")} for each in known]
    return who if target else {"targets": who, "default": facts.get("default"), "strategy": facts.get("strategy")}


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


def _complaint(error: ValidationError) -> str:
    return first_fault(error, "the answer")[:500]


def _digest(value: JsonValue) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
