"""What a document says, in short: asked of a language model, or found by rules where there is none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import JsonValue, ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import BlobRef, DocumentFacts, LlmDone, LlmRequest, MediaUploaded, Model
from stenobus_core import AnswerRefused, Context, PermanentError

from . import prompt, rules
from .reader import Reader, Reading
from .settings import Settings

TASK: Final = "ingest.extract"
#: Kinds of targets that are no language models.
_NO_MODEL: Final = frozenset({"extractive"})


@dataclass(frozen=True, slots=True)
class Description:
    """The facts, and who found them."""

    facts: DocumentFacts
    method: Literal["model", "rule"]
    model: str | None = None
    warnings: tuple[str, ...] = ()


class _Answer(Model):
    facts: DocumentFacts
    model: str


async def describe(
    event: MediaUploaded, reading: Reading, text: BlobRef, ctx: Context[Settings, Reader]
) -> Description:
    """Title, summary, dates, names and type of a document.

    Raises:
        PermanentError: the settings insist on a model, and there is none, or none whose answer fits.
        RetryableError: the model may answer later.
    """
    by_rule = await asyncio.to_thread(rules.facts, reading, event.media.title, event.title)
    wanted = ctx.settings.analysis
    offered = (await ctx.facts(LlmRequest)).get("targets")
    if wanted == "rule" or (wanted == "auto" and not has_model(offered)):
        return Description(by_rule, "rule")
    try:
        answer = await _asked(event, reading, text, offered, ctx)
    except AnswerRefused as refused:
        if wanted == "model":
            raise
        # the text is there all the same, and can be found
        return Description(by_rule, "rule", warnings=(f"The language model gave no answer: {refused}",))
    facts, dropped = rules.grounded(answer.facts, reading.markdown)
    title = event.title or facts.title
    warnings = (f"{dropped} dates or names that the document does not have are left out.",) if dropped else ()
    return Description(facts.model_copy(update={"title": title}), "model", answer.model, warnings)


def has_model(offered: JsonValue) -> bool:
    """Whether the router has a target that is a language model."""
    targets = offered if isinstance(offered, list) else []
    return any(isinstance(each, dict) and each.get("kind") not in _NO_MODEL for each in targets)


async def _asked(
    event: MediaUploaded, reading: Reading, text: BlobRef, offered: JsonValue, ctx: Context[Settings, Reader]
) -> _Answer:
    shown = prompt.both_ends(reading.markdown, ctx.settings.prompt_characters)
    schema = closed(DocumentFacts.model_json_schema())
    request = LlmRequest(
        task=TASK,
        messages=prompt.messages(event.media.title, shown),
        response_schema=schema,
        target=ctx.settings.target,
    )

    async def ask() -> _Answer:
        done = await ctx.request(request, timeout=ctx.settings.request_timeout)
        if not isinstance(done, LlmDone):
            raise PermanentError(f"{TASK} was answered with {type(done).__name__}; only llm.done can answer it.")
        try:
            facts = DocumentFacts.model_validate(done.data)
        except ValidationError as error:
            complaint = f"{done.provider} answered what does not fit at {first_fault(error, 'the answer')}."
            raise AnswerRefused(complaint, done) from None
        return _Answer(facts=facts, model=done.model or done.provider)

    who: list[JsonValue] = [
        {part: each.get(part) for part in ("name", "kind", "model")}
        for each in (offered if isinstance(offered, list) else [])
        if isinstance(each, dict)
    ]
    return await ctx.cached(
        _Answer,
        ask,
        prompt.VERSION,
        text,
        event.media.title,
        ctx.settings.prompt_characters,
        ctx.settings.target,
        who,
        schema,
    )


def closed(schema: Any) -> Any:
    """The schema with every object closed and whole: a model must neither invent fields nor leave any out."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(value) for key, value in schema.items()}
    if parts.get("type") == "object" and "properties" in parts:
        parts["additionalProperties"] = False
        parts["required"] = list(parts["properties"])
    return parts
