"""Token buckets that all processes share: so many tokens per second, and so many at once.

A bucket is one record, changed by compare-and-set. Whoever takes more than is there takes the tokens that are to come
and waits for them, so that everybody is served in the order in which the server saw the requests, and nobody starves.
The callers of one process share their way to the record. Time is the server's: the hosts' clocks are never compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .cell import BUCKET, Cell, Value
from .connection import Bus
from .errors import TooManyTokens

#: Seconds between two changes of one process: its callers gather meanwhile, and other processes get their turn.
_GATHER: Final = 0.003
#: Seconds after which the server's clock is read again: two clocks drift apart by microseconds until then.
_READ_AGAIN: Final = 10.0
#: Seconds by which one process may read the server's clock later in its course than another. What was written further
#: ahead was written before that clock was set back.
_STRAY: Final = 10.0
#: Readings of the clock, of which the quickest is taken.
_READINGS: Final = 3


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many tokens there are.

    Args:
        per_second: tokens that come per second; or
        per_minute: tokens that come per minute.
        burst: most tokens there are at once; those of a second by default, and at least one.

    Raises:
        ValueError: not exactly one rate is given, or a number is not above 0.
    """

    per_second: float | None = None
    per_minute: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        given = [number for number in (self.per_second, self.per_minute) if number is not None]
        if len(given) != 1:
            raise ValueError("A rate limit takes either per_second or per_minute.")
        if given[0] <= 0 or self.capacity < 1:
            raise ValueError("A rate limit's rate must be above 0, and its burst at least 1.")

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.per_second if self.per_second is not None else (self.per_minute or 0.0) / 60

    @property
    def capacity(self) -> float:
        """Most tokens there are at once."""
        return max(1.0, self.rate) if self.burst is None else self.burst


class TokenBucket:
    """One bucket, as this process uses it.

    Args:
        name: of the bucket, the same in every process that shares it.
    """

    def __init__(self, bus: Bus, name: str, limit: RateLimit) -> None:
        self.name, self.limit = name, limit
        self._cell = Cell(bus, f"rate.{name}", sound=_sound)
        self._clock = _ServerClock(bus)
        #: Tokens wanted (or, below 0, given back), and when they may be used (of the event loop's clock).
        self._orders: list[tuple[float, asyncio.Future[float]]] = []
        self._clerk: asyncio.Task[None] | None = None
        self._next = 0.0  # earliest time of the next change
        self._left, self._since = limit.capacity, 0.0  # as of the last change

    async def acquire(self, tokens: float = 1, waiting: Callable[[float], Awaitable[None]] | None = None) -> float:
        """Take tokens, and wait until they are there.

        Args:
            tokens: how many.
            waiting: called with the seconds it will take, when they are not there yet.

        Returns:
            Seconds it waited.

        Raises:
            TooManyTokens: the bucket never holds so many.
            ServerUnavailable: the bucket does not answer; tokens may be lost, but none is used twice.
        """
        if tokens > self.limit.capacity:
            raise TooManyTokens(
                f"The limit {self.name} holds at most {self.limit.capacity:g} tokens and {tokens:g} were asked for; "
                "raise its burst, or ask for less."
            )
        loop = asyncio.get_running_loop()
        begun = loop.time()
        due = await self._order(tokens)
        try:
            if waiting is not None and due > loop.time():
                await waiting(due - loop.time())
            await asyncio.sleep(due - loop.time())
        except BaseException:
            self._give_back(tokens)
            raise
        return loop.time() - begun

    async def reserve(self, tokens: float, waiting: Callable[[float], Awaitable[None]] | None = None) -> Reservation:
        """Take an estimate, to be settled once the real number is known. Waits and raises as :meth:`acquire`."""
        return Reservation(self, tokens, await self.acquire(tokens, waiting))

    async def settle(self, tokens: float) -> None:
        """Take more tokens without waiting, or give some back (below 0). Raises ServerUnavailable."""
        await self._order(tokens)

    @property
    def left(self) -> float:
        """Tokens there are, as far as this process knows: others may have taken some of them."""
        refilled = self._left + self.limit.rate * (asyncio.get_running_loop().time() - self._since)
        return min(self.limit.capacity, refilled)

    def _order(self, tokens: float) -> asyncio.Future[float]:
        order: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._orders.append((tokens, order))
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._serve())
        return order

    def _give_back(self, tokens: float) -> None:
        """Without waiting: what the server does not hear of is lost, and comes again with time."""
        self._order(-tokens).add_done_callback(lambda order: order.cancelled() or order.exception())

    async def _serve(self) -> None:
        """Take all that is ordered in one change; what is ordered meanwhile goes into the next one."""
        loop = asyncio.get_running_loop()
        while self._orders:
            await asyncio.sleep(self._next - loop.time())
            orders = [(tokens, order) for tokens, order in self._orders if not order.done()]
            self._orders.clear()
            try:
                await self._clock.read()
                dues = await self._cell.change(lambda record, orders=orders: self._take(record, orders))  # type: ignore[misc]
            except Exception as error:
                for _, order in orders:
                    if not order.done():
                        order.set_exception(error)
                continue
            self._next = loop.time() + _GATHER
            for (tokens, order), due in zip(orders, dues, strict=True):
                if not order.done():
                    order.set_result(due)
                elif tokens > 0:  # whoever wanted them is gone
                    self._give_back(tokens)

    def _take(self, record: Value, orders: Sequence[tuple[float, object]]) -> tuple[Value, list[float]]:
        """The record after all orders, and when each of them may be used."""
        local = asyncio.get_running_loop().time()
        now = self._clock.at(local)
        # Another process may have read the clock a little later in its course: time does not go back for that.
        last = record.get("at", now)
        at = last if now < last < now + _STRAY else now
        tokens = record.get("tokens", self.limit.capacity) + self.limit.rate * max(0.0, at - last)
        tokens = min(self.limit.capacity, tokens)
        dues = []
        for wanted, _ in orders:
            tokens = min(self.limit.capacity, tokens - wanted)
            dues.append(local + (at - now) - min(0.0, tokens) / self.limit.rate)
        self._left, self._since = tokens, local
        return {"tokens": tokens, "at": at}, dues


def _sound(record: Value) -> bool:
    return all(isinstance(record.get(name, 0.0), int | float) for name in ("tokens", "at"))


@dataclass(slots=True)
class Reservation:
    """Tokens taken on an estimate."""

    bucket: TokenBucket
    tokens: float
    #: Seconds it took to get them.
    waited: float

    async def settle(self, used: float) -> None:
        """Say how many it really were: the rest is given back, or what is missing is taken without waiting.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        difference, self.tokens = used - self.tokens, used
        if difference:
            await self.bucket.settle(difference)


class _ServerClock:
    """The server's time, never ahead of it, and behind by a round trip at most."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ahead = 0.0  # of the event loop's clock
        self._read: float | None = None

    def at(self, local: float) -> float:
        """The server's time in seconds since the epoch, at a time of the event loop's clock."""
        return local + self._ahead

    async def read(self) -> None:
        """Compare the clocks, unless that was done just now."""
        loop = asyncio.get_running_loop()
        if self._read is not None and loop.time() - self._read < _READ_AGAIN:
            return
        quickest = None
        for _ in range(_READINGS):
            begun = loop.time()
            told = datetime.fromisoformat((await self._bus.api(f"STREAM.INFO.KV_{BUCKET}"))["ts"]).timestamp()
            ended = loop.time()
            if quickest is None or ended - begun < quickest:
                quickest, self._ahead, self._read = ended - begun, told - ended, ended
