"""The plugin: answers ``llm.request`` with ``llm.done``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from importlib.util import find_spec
from typing import Final

from pydantic import JsonValue

from stenobus_bus import RateLimit
from stenobus_contracts import LlmDone, LlmRequest
from stenobus_core import Check, Context, Figure, Plugin, RetryableError

from . import quota
from .bill import Bill
from .budgets import Purse, Request
from .failures import Failure, pause
from .outcome import Outcome
from .providers import Completion
from .relay import Relay
from .results import Results
from .router import Means, Router
from .router import facts as router_facts
from .settings import EXTRACTIVE, MAX_ATTEMPTS, Settings

#: Bytes of an image that a message may show.
IMAGE_LIMIT: Final = 20 * 1024 * 1024

plugin = Plugin("llm", summary="Language models, and an extractive provider that needs none", settings=Settings)


@plugin.lifespan
async def router(settings: Settings) -> AsyncIterator[Router]:
    """One router, and so one set of connections, for the life of the process."""
    router = Router(settings)
    try:
        yield router
    finally:
        await router.close()


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """One line per target; a model that is not reachable right now is found out by asking it."""
    checks = []
    for target in settings.all_targets:
        model = f"{target.model or 'first model'} at {target.address}"
        where = "no model needed" if target.kind == EXTRACTIVE else model
        if target.kind == "bedrock" and find_spec("boto3") is None:
            checks.append(Check(f"target {target.name}", False, f"{where}: pip install stenobus-llm[bedrock]"))
            continue
        try:
            target.key()
        except LookupError as error:
            checks.append(Check(f"target {target.name}", False, f"{where}: {error.args[0]}"))
        else:
            checks.append(Check(f"target {target.name}", True, where))
    return checks


@plugin.facts
def facts(settings: Settings) -> dict[str, JsonValue]:
    """The targets, and how they are: a process that starts thinks well of all of them."""
    return router_facts(settings, {})


@plugin.limits
def limits(settings: Settings) -> dict[str, RateLimit]:
    """Requests and tokens per minute, by target."""
    return quota.limits(settings)


@plugin.metrics
def metrics(router: Router) -> list[Figure]:
    """What this process counted."""
    return router.figures.told()


# Most of a request's time is waiting, for a model or for quota: those who wait for one target leave hands for others.
@plugin.handler(concurrency=64, timeout=3600, attempts=MAX_ATTEMPTS)
async def complete(event: LlmRequest, ctx: Context[Settings, Router]) -> LlmDone:
    """Answer a request. The asker always hears back: with a completion, or with the reason there is none.

    Raises:
        RetryableError: the failure may pass, and attempts are left.
    """

    async def waiting(target: str, seconds: float) -> None:
        word = f"waiting for quota of {target}, {seconds:.0f} s" if seconds else f"asking {target}"
        await ctx.progress(0, word)

    ways = quota.Quota(ctx.limit, waiting)
    relay = Relay(ctx.send_piece, ctx.event_id, ctx.attempt) if event.stream else None
    ctx.note(task=event.task, caller=ctx.source)
    figures = ctx.state.figures
    results = Results(ctx, ctx.settings, event, ctx.event_id, ctx.replay, ctx.shadow)
    if ctx.redelivered and (kept := await results.own()) is not None:
        # It was paid for, and the process died, or was stopped, before anybody heard of it.
        if relay is not None:
            await relay.text(kept.answer.text)
            await relay.end()
        figures.request(kept.answer)
        ctx.note(**kept.facts)
        return kept.answer
    count = partial(figures.call, event.task)
    bill = Bill(ctx.settings.known_prices, ctx.earlier, lambda facts: ctx.note(**facts), count)
    means = Means(ways, relay, partial(ctx.read, limit=IMAGE_LIMIT), bill, _purse(ctx, bill), results.find)
    outcome = await ctx.state.answer(event, means)
    await ctx.state.tell(ctx.say)
    result = outcome.result
    if isinstance(result, Failure):
        ctx.log.warning("no completion", code=result.code, reason=result.message, attempt=ctx.attempt)
        if result.retryable and ctx.attempt < ctx.settings.attempts:
            raise RetryableError(result.message, delay=pause(ctx.attempt, result.delay))
    done = outcome.done(event, ctx.event_id, ctx.source)
    facts = _facts(outcome, done, results.taken)
    if isinstance(result, Completion) and outcome.asked:
        await results.keep(outcome.asked[-1], done, facts | bill.facts)
    if relay is not None:
        if isinstance(result, Completion) and not relay.begun:
            await relay.text(result.text)  # who answered does not stream
        await relay.end(done.error)
    figures.request(done)
    ctx.note(**facts)
    if ways.waited > quota.NOTICED:
        ctx.note(waited_for_quota=round(ways.waited, 1))
    return done


def _purse(ctx: Context[Settings, Router], bill: Bill) -> Purse | None:
    """What the request may spend."""
    if not ctx.settings.budgets:
        return None
    request = Request(f"{ctx.event_id}/{ctx.replay or ''}", ctx.source, ctx.run)
    return Purse(ctx.settings.budgets, request, ctx.settings.known_prices, ctx.budget, bill.lost)


def _facts(outcome: Outcome, done: LlmDone, taken: LlmDone | None) -> dict[str, JsonValue]:
    """What the run record keeps of a request, beside what its bill notes."""
    found: dict[str, JsonValue] = {
        "provider": done.provider,
        "model": done.model,
        "method": done.method,
        "cached": done.cached,
        "error": done.error.code if done.error else None,
        "seconds": done.seconds,
        "first_token_seconds": done.first_token_seconds,
        "asked": [target.name for target in outcome.asked],
        "not_taken": {
            candidate.target.name: candidate.refusal.message for candidate in outcome.considered if candidate.refusal
        },
    }
    if outcome.redacted:
        found["redacted"] = dict(outcome.redacted)
    if taken is not None:
        found["saved_tokens"] = taken.usage.total
        found["saved_usd"] = None if taken.cost_usd is None else f"{taken.cost_usd:f}"
    return found
