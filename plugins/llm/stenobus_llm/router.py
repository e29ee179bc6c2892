"""From a request to a target: who could take it, who does, and who is asked next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue

from stenobus_contracts import BlobRef, LlmRequest, TokenUsage
from stenobus_core import PermanentError

from . import structured, tokens
from .bill import Bill
from .breaker import SICK, Breaker
from .budgets import Purse
from .counting import counts
from .failures import Code, Failure
from .figures import Figures
from .outcome import Outcome
from .providers import NO_IMAGES, Completion, Piece, Provider, build
from .quota import Hold, Quota
from .redaction import Hidden, Redaction
from .relay import Relay
from .selection import NOTHING, Candidate, Latencies, candidates, expected, expected_usage, refusal, uncertain
from .settings import EXTRACTIVE, Settings, Target

#: How often a target is asked to mend an invalid answer.
REPAIRS: Final = 2
#: Images of one request.
MOST_IMAGES: Final = 20


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
class Means:
    """What one request may use besides the targets.

    Args:
        quota: its way to the targets' limits; None where there are none.
        relay: sends the answer on while it is written; None when nobody wants it in pieces.
        read: fetches an image.
        bill: what earlier attempts at the request took; None where there were none.
        purse: what the request may spend; None where there is no budget.
        known: finds a target's answer to an identical request.
    """

    quota: Quota | None = None
    relay: Relay | None = None
    read: Callable[[BlobRef], Awaitable[bytes]] | None = None
    bill: Bill | None = None
    purse: Purse | None = None
    known: Callable[[Target], Awaitable[Completion | None]] | None = None


_NO_MEANS: Final = Means()
_NOTHING: Final = TokenUsage()


def _reason(considered: Sequence[Candidate]) -> Failure:
    """The refusal to act upon, of candidates that all refuse.

    Who is only down would have taken the request, and so would who cannot be paid; who is too small could be replaced;
    who was never meant for it, or cannot do it, comes last. Among equals it is the first choice's, and so extractive's
    only where there is no model.
    """
    refusals = [candidate.refusal for candidate in considered if candidate.refusal is not None]
    weights: dict[Code, int] = {**dict.fromkeys(SICK, 0), "over_budget": 1, "unsupported": 3}
    return min(refusals, key=lambda refusal: weights.get(refusal.code, 2))


async def _known(
    means: Means, ranked: Sequence[Candidate], considered: Sequence[Candidate]
) -> tuple[Target, Completion] | None:
    """An earlier answer of whoever would be asked first, or of who comes before it and is only left alone for now."""
    for candidate, now in zip(ranked, considered, strict=True):
        if means.known is None or candidate.refusal is not None:
            continue
        if (known := await means.known(candidate.target)) is not None:
            return candidate.target, known
        if now.refusal is None:
            break
    return None


def _passed_over(candidate: Candidate, cached: Target) -> Candidate:
    """A candidate that was not asked because somebody's answer was there."""
    if candidate.target != cached:
        return candidate
    why = f"The target {cached.name} answered an identical request before, and that answer was taken."
    return replace(candidate, refusal=Failure("unsupported", why))


class Router:
    """Answers requests. One instance serves all of a process's requests and keeps the targets' connections."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._providers: dict[str, Provider] = {}
        self._building = asyncio.Lock()
        self._breakers = {
            target.name: Breaker(target.name, settings.breaker_failures, settings.breaker_pause, clock)
            for target in settings.all_targets
        }
        self._latencies = Latencies(clock)
        self._slots = {
            target.name: asyncio.Semaphore(target.concurrency) for target in settings.all_targets if target.concurrency
        }
        self._redaction = Redaction(settings.redact_kinds, settings.redact_patterns)
        self._telling = asyncio.Lock()
        self._told = self._health
        #: What this process counts.
        self.figures = Figures()

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

    async def answer(self, request: LlmRequest, means: Means = _NO_MEANS) -> Outcome:
        """Choose a target and ask it; ask again to mend an invalid answer, and others where the settings say so.

        Raises:
            ServerUnavailable: a limit's bucket does not answer.
        """
        started = self._clock()
        bill = means.bill or Bill(self._settings.known_prices)
        try:
            counted = await self._counted(request)
            ranked = candidates(self._settings, request, self._latencies, counted)
            considered = self._healthy(ranked)
            if (found := await _known(means, ranked, considered)) is not None:
                cached, known = found
                considered = [_passed_over(candidate, cached) for candidate in considered]
                return Outcome(known, bill, considered, seconds=self._clock() - started, cached=cached)
            images = await _images(request, means)
        except Failure as failure:
            return Outcome(failure, bill)
        call = _Call(request, means, images, started, bill, Hidden(request), counted)
        able = [candidate.target for candidate in considered if candidate.refusal is None]
        # Extractive stands in where no model can take a request, not where none can be paid: see _healthy.
        target = await self._paid([each for each in able if each.kind != EXTRACTIVE] or able, request, call)
        considered = call.seen(considered, target)
        if target is None:
            result: Completion | Failure = _reason(considered)
            assert isinstance(result, Failure)
            target = await self._next(request, result, call)
        while target is not None:
            call.asked.append(target)
            result = await self._ask(target, request, call)
            while isinstance(result, Failure) and (mending := await self._repair(target, request, result, call)):
                call.repairs, bill.repairs = call.repairs + 1, bill.repairs + 1
                result = await self._ask(target, mending, call)
            target = None
            if isinstance(result, Failure) and not call.begun:
                target = await self._next(request, result, call)
        if isinstance(result, Failure) and call.begun:
            result.retryable = False  # whoever heard the beginning must not hear another one
        seconds = self._clock() - started
        return Outcome(result, bill, considered, call.asked, seconds, call.first, call.redacted)

    async def _counted(self, request: LlmRequest) -> Mapping[str, int]:
        """Tokens of the prompt as targets count them, where an estimate might be wrong about their windows."""
        asked = [target for target in uncertain(self._settings, request) if not self._breakers[target.name].refusal]
        return await counts(asked, request, self._provider) if asked else NOTHING

    async def _provider(self, target: Target) -> Provider:
        """The target's, built when it is first asked: in a thread, as loading a client library takes seconds."""
        if target.name not in self._providers:
            async with self._building:
                if target.name not in self._providers:
                    self._providers[target.name] = await asyncio.to_thread(build, target)
        return self._providers[target.name]

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

    async def _paid(self, targets: Sequence[Target], request: LlmRequest, call: _Call) -> Target | None:
        """The first target that the budgets can pay; what it is expected to take is held until it is asked."""
        for target in targets:
            if call.means.purse is None or target.kind == EXTRACTIVE:
                return target
            refused = await call.means.purse.reserve(target, expected_usage(request, tokens.estimate(request)))
            if refused is None:
                return target
            call.unpaid[target.name] = refused
        return None

    async def _ask(self, target: Target, request: LlmRequest, call: _Call) -> Completion | Failure:
        """Ask a target once it may be sent the request."""
        try:
            call.hide(request, self._redaction if self._settings.redacts(target) else None)
        except Failure as failure:
            await call.settle(None)
            return failure
        quota = call.means.quota
        async with self._slots.get(target.name, nullcontext()):
            size = expected(request, tokens.estimate(request))
            hold = await quota.reserve(target, size) if quota else Hold()
            if refused := self._breakers[target.name].refusal:  # much may have happened while it waited
                await hold.release()
                await call.settle(None)
                return refused
            call.bill.begin(target, expected_usage(request, tokens.estimate(request)))
            result = await self._send(target, call)
            call.bill.add(target, result)
            await call.settle(target, result.usage)
            await hold.settle(result)
            return result

    async def _send(self, target: Target, call: _Call) -> Completion | Failure:
        """Ask a target now, with what it may see."""
        breaker = self._breakers[target.name]
        probe, started = breaker.begin(), self._clock()
        call.first = None
        request = call.hidden.request
        pieces = call.hidden.pieces(call.piece(self._clock)) if request.stream or target.stream else None
        try:
            provider = await self._provider(target)
            answer = await provider.complete(request, pieces.take if pieces else None, call.images)
            result: Completion | Failure = call.hidden.restored(answer)
        except Failure as failure:
            call.hidden.failed(failure)
            result = failure
        except BaseException:
            breaker.abandon(probe=probe)
            raise
        if isinstance(result, Failure):
            breaker.end(result, probe=probe)
        else:
            breaker.end(None, probe=probe)
            self._latencies.add(target.name, self._clock() - started)
        if pieces:
            await pieces.end()
        return result

    async def _repair(self, target: Target, request: LlmRequest, failure: Failure, call: _Call) -> LlmRequest | None:
        """What to ask the target to mend its invalid answer; None when that cannot be, or was done often enough."""
        if failure.code != "invalid_answer" or request.response_schema is None or call.begun:
            return None
        if call.repairs >= REPAIRS:
            return None
        said = Failure(failure.code, call.hidden.restore(failure.message), text=failure.text)
        mending = structured.repair(request, said)
        if refusal(self._settings, target, mending, tokens.estimate(mending)) is not None:
            return None
        return mending if await self._paid([target], mending, call) else None

    async def _next(self, request: LlmRequest, failure: Failure, call: _Call) -> Target | None:
        """The first fallback for this class of failure that can take the request, is paid, and was not asked yet."""
        if request.target not in {None, "auto"}:
            return None  # who names a target wants that one
        by_name = {target.name: target for target in self._settings.all_targets}
        size = tokens.estimate(request)
        for name in self._settings.fallback.get(failure.code, ()):
            target = by_name[name]
            refused = refusal(self._settings, target, request, size, call.counted.get(name))
            able = refused is None and self._breakers[name].refusal is None
            if target not in call.asked and able and await self._paid([target], request, call):
                return target
        return None


@dataclass(slots=True)
class _Call:
    """One request on its way through the router."""

    request: LlmRequest
    means: Means
    images: Mapping[str, bytes]
    started: float
    bill: Bill
    #: What is sent, and what is put back into the answer.
    hidden: Hidden
    #: Tokens of the prompt as targets counted them.
    counted: Mapping[str, int]
    redacted: dict[str, int] = field(default_factory=dict)
    asked: list[Target] = field(default_factory=list)
    #: Targets that the budgets cannot pay, and why.
    unpaid: dict[str, Failure] = field(default_factory=dict)
    #: Of this attempt.
    repairs: int = 0
    first: float | None = None

    @property
    def begun(self) -> bool:
        """The asker has heard a part of the answer."""
        return self.means.relay is not None and self.means.relay.begun

    def hide(self, request: LlmRequest, redaction: Redaction | None) -> None:
        """Hide what the next target must not see of a request. Raises as :meth:`Redaction.hide` does."""
        self.hidden = redaction.hide(request) if redaction else Hidden(request)
        for kind, count in self.hidden.counts.items():
            self.redacted[kind] = max(count, self.redacted.get(kind, 0))

    def seen(self, considered: Sequence[Candidate], taken: Target | None) -> list[Candidate]:
        """The candidates, with what the budgets say to them."""
        spare = Failure("unsupported", "A model could take the request, but no budget can pay it.")
        seen = []
        for candidate in considered:
            refused = self.unpaid.get(candidate.target.name, candidate.refusal)
            if refused is None and taken is None:
                refused = spare
            seen.append(replace(candidate, refusal=refused))
        return seen

    async def settle(self, target: Target | None, used: TokenUsage = _NOTHING) -> None:
        """Tell the budgets what a call took; nothing when none was made."""
        if self.means.purse is not None:
            await self.means.purse.settle(target, used)

    def piece(self, clock: Callable[[], float]) -> Piece:
        """What takes the pieces of an answer."""

        async def take(text: str) -> None:
            if self.first is None:
                self.first = clock() - self.started
            if self.means.relay is not None:
                await self.means.relay.text(text)

        return take


async def _images(request: LlmRequest, means: Means) -> Mapping[str, bytes]:
    """What the messages show, by URI.

    Raises:
        Failure: bad_request, when an image is gone, differs from what was promised, or is too large.
    """
    shown = {image.uri: image for message in request.messages for image in message.images}
    if not shown:
        return NO_IMAGES
    if means.read is None or len(shown) > MOST_IMAGES:
        raise Failure("bad_request", f"The request shows {len(shown)} images; at most {MOST_IMAGES} are taken.")
    try:
        return {uri: await means.read(image) for uri, image in shown.items()}
    except PermanentError as error:
        raise Failure("bad_request", f"An image of the request cannot be read: {error}") from error
