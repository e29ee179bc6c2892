"""From a request to a target: who could take it, who does, and who is asked next."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal

from stenobus_contracts import LlmDone, LlmRequest, TokenUsage

from . import tokens
from .failures import Failure
from .providers import Completion, Provider, build
from .settings import EXTRACTIVE, Settings, Target


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target as seen by one request; ``refusal`` says why it cannot take it."""

    target: Target
    refusal: Failure | None = None


def candidates(settings: Settings, request: LlmRequest) -> list[Candidate]:
    """Every target in the order of choice. A request that names a target has this one candidate.

    Raises:
        Failure: bad_request, when the request names a target that does not exist.
    """
    wanted = settings.default if request.target in {None, "auto"} else request.target
    targets = settings.all_targets
    if wanted != "auto":
        targets = tuple(target for target in targets if target.name == wanted)
        if not targets:
            known = ", ".join(target.name for target in settings.all_targets)
            raise Failure("bad_request", f"There is no target {wanted}; known are {known}.")
    # Models first, whatever the order in the settings: extractive answers when none of them can.
    ordered = sorted(targets, key=lambda target: target.kind == EXTRACTIVE)
    size = tokens.estimate(request)
    return [Candidate(target, refusal(target, request, size)) for target in ordered]


def refusal(target: Target, request: LlmRequest, size: int) -> Failure | None:
    """Why a target cannot take a request of an estimated size, or None when it can."""
    if target.kind == EXTRACTIVE:
        from .providers.extractive import refusal as unsupported

        return unsupported(request)
    room = target.context_window
    wanted = size + (request.max_output_tokens or 0)
    if room is not None and wanted > room:
        answer = f" with {request.max_output_tokens} for the answer" if request.max_output_tokens else ""
        return Failure(
            "context_too_long",
            f"The request takes about {wanted} tokens{answer} (estimated), and the context window of the target "
            f"{target.name} is {room}; send less, or configure a target with a larger one.",
        )
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request, with everything that was spent on it."""

    result: Completion | Failure
    considered: tuple[Candidate, ...] = ()
    asked: tuple[Target, ...] = ()
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost_usd: Decimal | None = Decimal(0)
    seconds: float = 0.0

    def done(self, request: LlmRequest, request_id: str) -> LlmDone:
        """The outcome as the asker hears of it."""
        completed = self.result if isinstance(self.result, Completion) else None
        return LlmDone(
            request_id=request_id,
            task=request.task,
            text=self.result.text,
            data=completed.data if completed else None,
            provider=self.asked[-1].name if self.asked else "router",
            model=self.result.model,
            method="extractive" if self.asked and self.asked[-1].kind == EXTRACTIVE else "model",
            finish_reason=self.result.finish_reason,
            usage=self.usage,
            cost_usd=self.cost_usd,
            seconds=round(self.seconds, 3),
            error=self.result.error if isinstance(self.result, Failure) else None,
        )


class Router:
    """Answers requests. One instance serves all of a process's requests and keeps the targets' connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._providers: dict[str, Provider] = {}

    async def close(self) -> None:
        """Close every provider's connections."""
        for provider in self._providers.values():
            await provider.close()

    async def answer(self, request: LlmRequest) -> Outcome:
        """Choose a target and ask it once; where the settings say so, ask another one when it fails."""
        started = time.monotonic()
        try:
            considered = candidates(self._settings, request)
        except Failure as failure:
            return Outcome(failure)
        target = next((candidate.target for candidate in considered if candidate.refusal is None), None)
        if target is None:
            # The first model's reason is the one to act upon; extractive's only where no model is configured.
            assert considered[0].refusal is not None
            return Outcome(considered[0].refusal, tuple(considered))
        asked: list[Target] = []
        usage: TokenUsage = TokenUsage()
        cost: Decimal | None = Decimal(0)
        while target is not None:
            asked.append(target)
            result = await self._ask(target, request)
            price = target.cost(result.usage)
            usage, cost = usage + result.usage, None if cost is None or price is None else cost + price
            target = self._next(request, result, asked) if isinstance(result, Failure) else None
        return Outcome(result, tuple(considered), tuple(asked), usage, cost, time.monotonic() - started)

    async def _ask(self, target: Target, request: LlmRequest) -> Completion | Failure:
        try:
            if target.name not in self._providers:
                self._providers[target.name] = build(target)
            return await self._providers[target.name].complete(request)
        except Failure as failure:
            return failure

    def _next(self, request: LlmRequest, failure: Failure, asked: list[Target]) -> Target | None:
        """The first fallback for this class of failure that can take the request and was not asked yet."""
        if request.target not in {None, "auto"}:
            return None  # who names a target wants that one
        by_name = {target.name: target for target in self._settings.all_targets}
        size = tokens.estimate(request)
        for name in self._settings.fallback.get(failure.code, ()):
            target = by_name[name]
            if target not in asked and refusal(target, request, size) is None:
                return target
        return None
