"""Requests and tokens per minute of a target, shared by all processes: reserved as an estimate, settled as used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from stenobus_bus import RateLimit, ServerUnavailable, TokenBucket
from stenobus_bus.rates import Reservation

from .failures import Failure
from .providers import Completion
from .settings import Settings, Target

#: Seconds of waiting that are worth a word.
NOTICED: Final = 0.5

log = structlog.get_logger("llm")


def limits(settings: Settings) -> dict[str, RateLimit]:
    """The token buckets of all targets, by name. Each holds what a minute brings."""
    found = {}
    for target in settings.all_targets:
        if target.requests_per_minute:
            found[f"{target.name}.requests"] = _of(target.requests_per_minute)
        if target.tokens_per_minute:
            found[f"{target.name}.tokens"] = _of(target.tokens_per_minute)
    return found


def _of(per_minute: float) -> RateLimit:
    return RateLimit(per_minute=per_minute, burst=per_minute)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a request has reserved of its target's tokens."""

    tokens: Reservation | None = None

    async def settle(self, result: Completion | Failure) -> None:
        """Say what it really took.

        Nobody knows what a request took whose answer was lost: its estimate stays. A bucket that does not answer costs
        exactness, and no answer.
        """
        if not (isinstance(result, Failure) and result.code == "transport"):
            await self._used(result.usage.total)

    async def release(self) -> None:
        """Say that the request was not sent after all."""
        await self._used(0)

    async def _used(self, tokens: int) -> None:
        if self.tokens is None:
            return
        try:
            await self.tokens.settle(tokens)
        except ServerUnavailable as error:
            log.warning("quota.unsettled", limit=self.tokens.bucket.name, error=str(error))


class Quota:
    """The way of one request to the limits.

    Args:
        bucket: finds a token bucket by its name.
        waiting: called with a target's name and seconds when the request has to wait, and with 0 once it need no more.
    """

    def __init__(self, bucket: Callable[[str], TokenBucket], waiting: Callable[[str, float], Awaitable[None]]) -> None:
        self._bucket, self._waiting = bucket, waiting
        #: Seconds waited so far, for all targets.
        self.waited = 0.0

    async def reserve(self, target: Target, tokens: int) -> Hold:
        """Wait until the target may be sent a request of so many tokens, its answer included.

        Raises:
            ServerUnavailable: a bucket does not answer.
        """

        said = False

        async def waiting(seconds: float) -> None:
            nonlocal said
            if seconds > NOTICED:
                said = True
                await self._waiting(target.name, seconds)

        requests = held = None
        if target.requests_per_minute:
            requests = await self._bucket(f"{target.name}.requests").reserve(1, waiting)
            self.waited += requests.waited
        if target.tokens_per_minute:
            try:
                held = await self._bucket(f"{target.name}.tokens").reserve(tokens, waiting)
            except BaseException:
                if requests:
                    await requests.settle(0)  # it was not sent
                raise
            self.waited += held.waited
        if said:
            await self._waiting(target.name, 0)
        return Hold(held)
