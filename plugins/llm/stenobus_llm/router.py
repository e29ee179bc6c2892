"""From a request to a target: who could take it, who does, and who is asked next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pydantic import JsonValue

from stenobus_contracts import LlmDone, LlmRequest, TokenUsage

from . import tokens
from .breaker import SICK, Breaker
from .failures import Failure
from .providers import Completion, Provider, build
from .quota import Hold, Quota
from .selection import Candidate, Latencies, candidates, expected, refusal
from .settings import EXTRACTIVE, Settings, Target


def facts(settings: Settings, health: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The targets in the order in which they are tried, so that askers fit their prompts and know who will answer."""
    return {
        "default": settings.default,
        "strategy": settings.strategy,
        "max_prompt_tokens": settings.max_prompt_tokens,
        "targets": [
            {
                "name": target.name,
                "kind": target.kind,
                "model": target.model,
                "context_window": target.context_window,
                "output_limit": target.output_limit,
                "tokens_per_minute": target.tokens_per_minute,
                "capabilities": list[JsonValue](sorted(target.abilities)),
                "local": target.stays,
                "health": health.get(target.name, {"state": "closed"}),
            }
            for target in settings.all_targets
        ],
    }


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
            candidates=tuple(candidate.told(self.asked) for candidate in self.considered),
        )


def _reason(considered: Sequence[Candidate]) -> Failure:
    """The refusal to act upon, of candidates that all refuse.

    Who is only down would have taken the request; who is too small could be replaced; who was never meant for it, or
    cannot do it, comes last. Among equals it is the first choice's, and so extractive's only where there is no model.
    """
    refusals = [candidate.refusal for candidate in considered if candidate.refusal is not None]
    return min(refusals, key=lambda refusal: 0 if refusal.code in SICK else 2 if refusal.code == "unsupported" else 1)


class Router:
    """Answers requests. One instance serves all of a process's requests and keeps the targets' connections."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._providers: dict[str, Provider] = {}
        self._breakers = {
            target.name: Breaker(target.name, settings.breaker_failures, settings.breaker_pause, clock)
            for target in settings.all_targets
        }
        self._latencies = Latencies(clock)
        self._slots = {
            target.name: asyncio.Semaphore(target.concurrency) for target in settings.all_targets if target.concurrency
        }
        self._telling = asyncio.Lock()
        self._told = self._health

    async def close(self) -> None:
        """Close every provider's connections."""
        for provider in self._providers.values():
            await provider.close()

    async def tell(self, say: Callable[[dict[str, JsonValue]], Awaitable[None]]) -> None:
        """Hand the facts to ``say`` when the health of a target is not what it was the last time."""
        async with self._telling:  # so that the last word is the latest
            health = self._health
            if health != self._told:
                await say(facts(self._settings, {name: breaker.health for name, breaker in self._breakers.items()}))
                self._told = health

    @property
    def _health(self) -> dict[str, float | None]:
        return {name: breaker.until for name, breaker in self._breakers.items()}

    async def answer(self, request: LlmRequest, quota: Quota | None = None) -> Outcome:
        """Choose a target and ask it once; where the settings say so, ask another one when it fails.

        Args:
            request: what is asked.
            quota: the request's way to the targets' limits; None where there are none.

        Raises:
            ServerUnavailable: a limit's bucket does not answer.
        """
        started = time.monotonic()
        try:
            considered = candidates(self._settings, request, self._latencies)
        except Failure as failure:
            return Outcome(failure)
        considered = self._healthy(considered)
        target = next((candidate.target for candidate in considered if candidate.refusal is None), None)
        if target is None:
            failed = _reason(considered)
            target = self._next(request, failed, [])
            if target is None:
                return Outcome(failed, tuple(considered))
        asked: list[Target] = []
        usage: TokenUsage = TokenUsage()
        cost: Decimal | None = Decimal(0)
        while target is not None:
            asked.append(target)
            result = await self._ask(target, request, quota)
            price = target.cost(result.usage)
            usage, cost = usage + result.usage, None if cost is None or price is None else cost + price
            target = self._next(request, result, asked) if isinstance(result, Failure) else None
        return Outcome(result, tuple(considered), tuple(asked), usage, cost, time.monotonic() - started)

    def _healthy(self, considered: list[Candidate]) -> list[Candidate]:
        """The candidates, without those that are left alone for now.

        Extractive stands in where no model can take a request, not where one is down for a while: that is for the
        settings to say (``fallback``).
        """
        down = False
        result = []
        for candidate in considered:
            if candidate.refusal is None:
                sick = self._breakers[candidate.target.name].refusal
                if candidate.target.kind == EXTRACTIVE and down:
                    sick = Failure("unsupported", "A model could take the request, but is left alone for now.")
                candidate = replace(candidate, refusal=sick)
                down = down or sick is not None
            result.append(candidate)
        return result

    async def _ask(self, target: Target, request: LlmRequest, quota: Quota | None) -> Completion | Failure:
        """Ask a target once it may be sent the request."""
        async with self._slots.get(target.name, nullcontext()):
            size = expected(request, tokens.estimate(request))
            hold = await quota.reserve(target, size) if quota else Hold()
            if refused := self._breakers[target.name].refusal:  # much may have happened while it waited
                await hold.release()
                return refused
            result = await self._send(target, request)
            await hold.settle(result)
            return result

    async def _send(self, target: Target, request: LlmRequest) -> Completion | Failure:
        breaker = self._breakers[target.name]
        probe, started = breaker.begin(), self._clock()
        try:
            if target.name not in self._providers:
                self._providers[target.name] = build(target)
            result = await self._providers[target.name].complete(request)
        except Failure as failure:
            breaker.end(failure, probe=probe)
            return failure
        except BaseException:
            breaker.abandon(probe=probe)
            raise
        breaker.end(None, probe=probe)
        self._latencies.add(target.name, self._clock() - started)
        return result

    def _next(self, request: LlmRequest, failure: Failure, asked: list[Target]) -> Target | None:
        """The first fallback for this class of failure that can take the request and was not asked yet."""
        if request.target not in {None, "auto"}:
            return None  # who names a target wants that one
        by_name = {target.name: target for target in self._settings.all_targets}
        size = tokens.estimate(request)
        for name in self._settings.fallback.get(failure.code, ()):
            target = by_name[name]
            able = refusal(self._settings, target, request, size) is None and self._breakers[name].refusal is None
            if target not in asked and able:
                return target
        return None
