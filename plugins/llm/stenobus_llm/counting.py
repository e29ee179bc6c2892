"""How many tokens a prompt takes, as the servers count them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from stenobus_contracts import LlmRequest

from .failures import Failure
from .providers import Counts, Provider, build
from .settings import Target

#: Seconds for a count: an estimate is at hand.
_PATIENCE: Final = 5.0

log = structlog.get_logger("llm")


async def counts(
    targets: Sequence[Target], request: LlmRequest, provider: Callable[[Target], Awaitable[Provider]]
) -> dict[str, int]:
    """Tokens of the prompt by target; without those that do not say."""
    found = await asyncio.gather(*(_count(target, request, provider) for target in targets))
    return {target.name: count for target, count in zip(targets, found, strict=True) if count is not None}


async def counts_once(targets: Sequence[Target], request: LlmRequest) -> dict[str, int]:
    """As :func:`counts`, for who has no providers and needs them no more."""
    providers: list[Provider] = []

    async def provider(target: Target) -> Provider:
        found = await asyncio.to_thread(build, target)
        providers.append(found)
        return found

    try:
        return await counts(targets, request, provider)
    finally:
        for each in providers:
            await each.close()


async def _count(target: Target, request: LlmRequest, provider: Callable[[Target], Awaitable[Provider]]) -> int | None:
    try:
        asked = await provider(target)
        if not isinstance(asked, Counts):
            return None
        async with asyncio.timeout(_PATIENCE):
            return await asked.count(request)
    except (Failure, TimeoutError) as error:
        log.warning("prompt.uncounted", target=target.name, reason=str(error) or f"no answer within {_PATIENCE:g} s")
        return None
