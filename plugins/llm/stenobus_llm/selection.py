"""Which target a request goes to: what each of them says to it, and in which order they are asked.

The band of tokens and the reserved tasks make the allowed set, what the request needs filters it, the strategy orders
it. Health is the router's part: only it knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from stenobus_contracts import LlmCandidate, LlmRequest, TokenUsage

from . import tokens
from .failures import Failure
from .settings import EXTRACTIVE, Settings, Target

#: Tokens of an answer whose length the request does not limit, as an estimate.
_ANSWER: Final = 500
#: Parts of a context window between which an estimate may be on the wrong side of it.
_NEAR: Final = (0.6, 2.0)
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
#: Weight of the newest measurement.
_NEWEST: Final = 0.2
#: Seconds after which a target is measured again.
_STALE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target as seen by one request; ``refusal`` says why it cannot take it."""

    target: Target
    refusal: Failure | None = None
    #: What the strategy knows of it.
    rank: str = ""

    def told(self, asked: Sequence[Target]) -> LlmCandidate:
        """The candidate as the asker hears of it, after some targets were asked."""
        taken = self.target in asked
        if taken:
            reason = f"asked: {self.rank}"
        else:
            reason = self.refusal.message if self.refusal else f"able, but comes later: {self.rank}"
        return LlmCandidate(target=self.target.name, asked=taken, reason=reason)


class Latencies:
    """How long the targets take, as this process measured it.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}

    def add(self, target: str, seconds: float) -> None:
        """A completion took so many seconds."""
        before = self.of(target)
        self._known[target] = (seconds if before is None else before + _NEWEST * (seconds - before), self._clock())

    def of(self, target: str) -> float | None:
        """Seconds a completion takes; None when that was not measured lately."""
        average, measured = self._known.get(target, (0.0, float("-inf")))
        return average if self._clock() - measured < _STALE else None


def candidates(
    settings: Settings, request: LlmRequest, latencies: Latencies | None = None, counted: Mapping[str, int] = NOTHING
) -> list[Candidate]:
    """Every target in the order of choice. A request that names a target has this one candidate.

    Args:
        settings: the targets and the order.
        request: what is asked.
        latencies: what was measured.
        counted: tokens of the prompt as targets counted them, by name.

    Raises:
        Failure: the request is too long for the settings (context_too_long), or names a target that does not exist
            (bad_request).
    """
    size = tokens.estimate(request)
    if settings.max_prompt_tokens is not None and size > settings.max_prompt_tokens:
        raise Failure(
            "context_too_long",
            f"The request takes about {size} tokens (estimated), and max_prompt_tokens is "
            f"{settings.max_prompt_tokens}; send less, or raise it.",
        )
    wanted = settings.default if request.target in {None, "auto"} else request.target
    targets = settings.all_targets
    if wanted != "auto":
        named = next((target for target in targets if target.name == wanted), None)
        if named is None:
            known = ", ".join(target.name for target in targets)
            raise Failure("bad_request", f"There is no target {wanted}; known are {known}.")
        return [Candidate(named, refusal(settings, named, request, size, counted.get(wanted)), "it was named")]
    ranked = [
        (_rank(settings, target, request, size, latencies or Latencies()), index, target)
        for index, target in enumerate(targets)
    ]
    ranked.sort(key=lambda each: (each[0][0], each[1]))
    return [
        Candidate(
            target,
            _outside(target, request, size) or refusal(settings, target, request, size, counted.get(target.name)),
            words,
        )
        for (_, words), _, target in ranked
    ]


def uncertain(settings: Settings, request: LlmRequest) -> list[Target]:
    """Targets that could count the prompt, where it comes so near to their context windows that a count decides.

    Only those that would be sent the same prompt: a count is no reason to show it to anybody else.
    """
    size, answer = tokens.estimate(request), request.max_output_tokens or 0
    named = settings.default if request.target in {None, "auto"} else request.target
    return [
        target
        for target in settings.all_targets
        if target.tokenise
        and target.context_window is not None
        and named in {"auto", target.name}
        and _NEAR[0] * target.context_window < size + answer < _NEAR[1] * target.context_window
        and (named == target.name or _outside(target, request, size) is None)
        and refusal(settings, target, request, size, counted=0) is None
        and not settings.redacts(target)
        and not any(message.images for message in request.messages)
    ]


def refusal(
    settings: Settings, target: Target, request: LlmRequest, size: int, counted: int | None = None
) -> Failure | None:
    """Why a target cannot take a request, or None when it can.

    Args:
        settings: what holds for all targets.
        target: the one in question.
        request: what is asked.
        size: estimated tokens of the prompt.
        counted: its tokens as the target counted them; None where it did not.
    """
    if target.kind == EXTRACTIVE:
        from .providers.extractive import refusal as unsupported

        return unsupported(request)
    if (settings.local_only or request.local_only) and not target.stays:
        return Failure("unsupported", f"The target {target.name} is not local, and the prompt must not leave.")
    if missing := sorted(request.needed - target.abilities):
        return Failure("unsupported", f"The target {target.name} does not offer {', '.join(missing)}.")
    answer = request.max_output_tokens or 0
    if target.output_limit is not None and answer > target.output_limit:
        return Failure(
            "context_too_long",
            f"The request wants up to {answer} tokens of answer, and the target {target.name} writes at most "
            f"{target.output_limit}; lower max_output_tokens.",
        )
    room = target.context_window
    prompt = size if counted is None else counted
    if room is not None and prompt + answer > room:
        with_answer = f" with {answer} for the answer" if answer else ""
        return Failure(
            "context_too_long",
            f"The request takes {_tokens(prompt + answer, with_answer, counted)}, and the context window of the "
            f"target {target.name} is {room}; send less, or configure a target with a larger one.",
        )
    minute = target.tokens_per_minute
    if minute is not None and expected(request, size) > minute:
        return Failure(
            "over_limit",
            f"The request takes about {expected(request, size)} tokens with its answer (estimated), and the target "
            f"{target.name} may be sent {minute} per minute: it would wait for ever; send less, or raise "
            "tokens_per_minute.",
        )
    return None


def _tokens(size: int, of_what: str, counted: int | None) -> str:
    return f"about {size} tokens{of_what} (estimated)" if counted is None else f"{size} tokens{of_what} (counted)"


def _outside(target: Target, request: LlmRequest, size: int) -> Failure | None:
    """Why the target is not meant for a request that leaves the choice to us."""
    if target.tasks and not _reserved(target, request):
        return Failure("unsupported", f"The target {target.name} is reserved for {', '.join(target.tasks)}.")
    if size < target.from_tokens:
        return Failure(
            "unsupported",
            f"The target {target.name} takes prompts from {target.from_tokens} tokens, and this one has about {size}.",
        )
    if target.below_tokens is not None and size >= target.below_tokens:
        return Failure(
            "context_too_long",
            f"The target {target.name} takes prompts below {target.below_tokens} tokens, and this one has about "
            f"{size}.",
        )
    return None


def _reserved(target: Target, request: LlmRequest) -> bool:
    return any(fnmatchcase(request.task, pattern) for pattern in target.tasks)


def _rank(
    settings: Settings, target: Target, request: LlmRequest, size: int, latencies: Latencies
) -> tuple[tuple[bool, bool, bool, float], str]:
    """The target's place in the order, lowest first, and what it is due to.

    Models come before extractive, whatever the order in the settings: it answers when none of them can. Those that are
    reserved for the task come before the others.
    """
    unknown, value = False, 0.0
    if target.kind == EXTRACTIVE:
        words = "answers without a model"
    elif settings.strategy == "quality":
        value, words = -target.quality, f"quality {target.quality:g}"
    elif settings.strategy == "cost":
        price = settings.known_prices.cost(target, expected_usage(request, size))
        unknown, value = price is None, float(price or 0)
        words = "its price is unknown" if price is None else f"costs about ${price:f}"
    else:
        seconds = latencies.of(target.name)
        # Who was not measured lately comes first, so that everybody is.
        value = -1.0 if seconds is None else seconds
        words = "not measured lately" if seconds is None else f"takes {seconds:.3g} s"
    reserved = _reserved(target, request)
    if reserved:
        words = f"reserved for {request.task}, {words}"
    return (target.kind == EXTRACTIVE, not reserved, unknown, value), words


def expected(request: LlmRequest, size: int) -> int:
    """Estimated tokens of a prompt of an estimated size, and its answer."""
    return expected_usage(request, size).total


def expected_usage(request: LlmRequest, size: int) -> TokenUsage:
    """What a prompt of an estimated size and its answer are expected to take."""
    return TokenUsage(input=size, output=request.max_output_tokens or _ANSWER, estimated=True)
