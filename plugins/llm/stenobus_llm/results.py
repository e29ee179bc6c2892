"""Answers that are given again: to an identical request, and to a request whose process died on the way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from stenobus_contracts import LlmDone, LlmRequest

from .providers import Completion
from .settings import EXTRACTIVE, Settings, Target

#: What of a request says nothing about its answer: whom it is for, who may give it, and how it is handed over.
_ASIDE: Final = frozenset({"task", "inputs", "stream", "cache", "target", "needs", "local_only", "priority"})
#: What of a target says nothing about its answers; all else counts, whatever is added.
_OUTSIDE: Final = frozenset(
    {
        "name", "api_key", "api_key_env", "api_key_file", "base_url", "stream", "cache_point", "timeout", "silence",
        "connect_timeout", "context_window", "output_limit", "from_tokens", "below_tokens", "tasks", "concurrency",
        "requests_per_minute", "tokens_per_minute", "local", "redact", "quality", "input_price_per_million",
        "output_price_per_million", "cached_price_per_million",
    }
)  # fmt: skip

M = TypeVar("M", bound=BaseModel)


class Kept(BaseModel):
    """An answer, and when it was given."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    answer: LlmDone
    facts: dict[str, JsonValue] = Field(description="what the run record says of it")
    at: datetime


class Store(Protocol):
    """Keeps results across processes; the handler's context is one."""

    async def recall(self, shape: type[M], *parts: JsonValue) -> M | None:
        """What was kept under these parts, if it can be had."""
        ...

    async def keep(self, result: BaseModel, *parts: JsonValue) -> None:
        """Keep a result, if that can be done."""
        ...


class Results:
    """The kept answers as one request sees them. A store that fails costs a call, and never the answer.

    Args:
        store: where they are.
        settings: of the router.
        request: what is asked.
        delivery: what tells this request from all others: its id, and the replay or trial it belongs to.
    """

    def __init__(self, store: Store, settings: Settings, request: LlmRequest, *delivery: str | None) -> None:
        self._store, self._settings, self._request = store, settings, request
        #: The answer of an identical request that was taken, with what it took when it was given.
        self.taken: LlmDone | None = None
        self._own: tuple[JsonValue, ...] = ("this request", *delivery, request.model_dump(mode="json"))

    async def own(self) -> Kept | None:
        """The answer to this very request, which an earlier delivery had and did not live to publish."""
        return await self._store.recall(Kept, *self._own)

    async def find(self, target: Target) -> Completion | None:
        """A target's answer to an identical request. It takes nothing now: its usage is none."""
        if not self._shared(target):
            return None
        kept = await self._store.recall(Kept, *self._parts(target))
        if kept is None or datetime.now(UTC) - kept.at >= timedelta(seconds=self._settings.cache_ttl):
            return None
        self.taken = kept.answer
        return Completion(
            text=kept.answer.text,
            data=kept.answer.data,
            tool_calls=kept.answer.tool_calls,
            model=kept.answer.model,
            finish_reason=kept.answer.finish_reason or "stop",
        )

    async def keep(self, target: Target, answer: LlmDone, facts: dict[str, JsonValue]) -> None:
        """Keep a good answer, before anybody hears of it."""
        if target.kind == EXTRACTIVE:
            return  # made again at no cost
        kept = Kept(answer=answer, facts=facts, at=datetime.now(UTC))
        await self._store.keep(kept, *self._own)
        if self._shared(target):
            await self._store.keep(kept, *self._parts(target))

    def _shared(self, target: Target) -> bool:
        """Whether an identical request may have the answer, and this one that of an identical request.

        A target without a named model may serve another one tomorrow, at the same address.
        """
        asked = self._request
        wanted = asked.temperature == 0 if asked.cache is None else asked.cache
        return wanted and self._settings.cache_ttl > 0 and target.kind != EXTRACTIVE and target.model is not None

    def _parts(self, target: Target) -> tuple[JsonValue, ...]:
        """Everything that the answer follows from."""
        asked: dict[str, Any] = self._request.model_dump(mode="json", exclude=set(_ASIDE))
        for message in asked["messages"]:
            message["images"] = [image["sha256"] for image in message["images"]]
        whom: dict[str, Any] = {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in target.model_dump(exclude=set(_OUTSIDE)).items()
        }
        settings = self._settings
        redaction: dict[str, JsonValue] | None = None
        if settings.redacts(target):
            redaction = {"kinds": [*sorted(settings.redact_kinds)], "patterns": {**settings.redact_patterns}}
        return ("an answer", asked, {**whom, "address": target.address}, redaction)
