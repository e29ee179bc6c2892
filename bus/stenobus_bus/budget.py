"""Budgets that all processes share: amounts that are reserved as an estimate and settled as used.

A budget is one record, changed by compare-and-set: what was used, and what is held for whom. Nothing is given that is
not there, whichever processes ask at once. Who asks again under the same name takes over what was held for it, so that
a request whose process died does not stand in its own way.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from .cell import Cell, Value
from .connection import Bus

T = TypeVar("T")

BUCKET: Final = "stenobus_budgets"
#: Seconds a budget is kept after its last change: longer than a month, the longest period there is.
TTL: Final = 40 * 86_400.0
#: Seconds after which what is held for somebody is free again, should nobody have settled it by then.
LEASE: Final = 7200.0
#: Seconds between two changes of one process: its callers gather meanwhile, and other processes get their turn.
_GATHER: Final = 0.003
#: Budgets that a process keeps at hand; the others are read anew.
_KNOWN: Final = 1000

Amounts = Mapping[str, Decimal]


class Record(Protocol):
    """Where a budget lies, see :class:`Cell`."""

    async def change(self, step: Callable[[Value], tuple[Value, T]]) -> T:
        """Put what ``step`` makes of the value in its place."""
        ...


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a budget does not give what was asked for."""

    unit: str
    wanted: Decimal
    #: What is neither used nor held; below 0 where more was used than reserved.
    left: Decimal
    limit: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """What is reserved for somebody."""

    budget: Budget
    who: str
    #: Tells this reservation from a later one under the same name.
    mark: str

    async def settle(self, used: Amounts) -> None:
        """Say how much it really was; what was held is free again.

        Raises:
            ServerUnavailable: the record does not answer; what is held stays held until its lease ends.
        """
        await self.budget._order(lambda book: book.settle(self, used))


class Budget:
    """One budget, as this process uses it.

    Args:
        record: where it lies.
        limits: most of each unit; a unit without a limit is counted only.
        lease: seconds for which something is held, at most.
        clock: seconds since the epoch. Those of two hosts may differ by far less than the lease.
    """

    def __init__(
        self, record: Record, limits: Amounts, lease: float = LEASE, clock: Callable[[], float] = time.time
    ) -> None:
        self.limits = limits
        self._record, self._lease, self._clock = record, lease, clock
        self._orders: list[tuple[Callable[[_Book], Any], asyncio.Future[Any]]] = []
        self._clerk: asyncio.Task[None] | None = None

    async def reserve(self, who: str, amounts: Amounts, lost: Amounts = MappingProxyType({})) -> Held | Shortfall:
        """Hold an estimate, or say which unit it does not fit into.

        Args:
            who: name of the request; what is held under it already is taken over.
            amounts: by unit.
            lost: what was used by whoever held that and did not live to settle it; counted if it is still held.

        Raises:
            ServerUnavailable: the record does not answer; what was held all the same is free once its lease ends.
        """
        held = Held(self, who, uuid.uuid4().hex[:8])
        try:
            return await self._order(lambda book: book.reserve(held, amounts, lost))
        except asyncio.CancelledError:
            # Behind the reservation in the queue. What the server does not hear of ends with its lease.
            self._submit(lambda book: book.settle(held, {})).add_done_callback(_look)
            raise

    async def used(self) -> dict[str, Decimal]:
        """What was used and settled so far, by unit. Raises ServerUnavailable."""
        return await self._order(lambda book: dict(book.used))

    def _submit(self, step: Callable[[_Book], T]) -> asyncio.Future[T]:
        order: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._orders.append((step, order))
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._serve())
        return order

    async def _order(self, step: Callable[[_Book], T]) -> T:
        return await asyncio.shield(self._submit(step))

    async def _serve(self) -> None:
        """Do all that is ordered in one change; what is ordered meanwhile goes into the next one."""
        while self._orders:
            orders = list(self._orders)
            self._orders.clear()

            def change(value: Value, orders: list[Any] = orders) -> tuple[Value, list[Any]]:
                book = _Book(value, self.limits, self._clock(), self._lease)
                results = [step(book) for step, _ in orders]
                return book.value, results

            try:
                results = await self._record.change(change)
            except Exception as error:
                for _, order in orders:
                    order.set_exception(error)
                continue
            for (_, order), result in zip(orders, results, strict=True):
                order.set_result(result)
            if self._orders:
                await asyncio.sleep(_GATHER)


def _look(order: asyncio.Future[Any]) -> None:
    """Nobody else asks what became of it."""
    order.exception()


class _Book:
    """A budget's record, open to be changed."""

    def __init__(self, value: Value, limits: Amounts, now: float, lease: float) -> None:
        self._limits, self._now = limits, now
        self.used = {unit: Decimal(amount) for unit, amount in value.get("used", {}).items()}
        #: By name: mark, when it was held, amounts.
        self._held: dict[str, tuple[str, float, dict[str, str]]] = {
            who: (mark, at, amounts) for who, (mark, at, amounts) in value.get("held", {}).items() if at + lease > now
        }

    @property
    def value(self) -> Value:
        """The record as it is stored."""
        return {"used": {unit: str(amount) for unit, amount in self.used.items()}, "held": self._held}

    def reserve(self, held: Held, amounts: Amounts, lost: Amounts) -> Held | Shortfall:
        """Hold something, if it fits."""
        if self._held.pop(held.who, None) is not None:
            self._count(lost)
        for unit, limit in self._limits.items():
            wanted, left = amounts.get(unit, Decimal(0)), limit - self.used.get(unit, Decimal(0)) - self._taken(unit)
            if wanted > max(left, Decimal(0)):  # what costs nothing always fits
                return Shortfall(unit, wanted, left, limit)
        self._held[held.who] = held.mark, self._now, {unit: str(amount) for unit, amount in amounts.items()}
        return held

    def settle(self, held: Held, used: Amounts) -> None:
        """Count what was used, and hold no more, unless somebody took over."""
        if held.who in self._held and self._held[held.who][0] == held.mark:
            del self._held[held.who]
        self._count(used)

    def _count(self, used: Amounts) -> None:
        for unit, amount in used.items():
            self.used[unit] = self.used.get(unit, Decimal(0)) + amount

    def _taken(self, unit: str) -> Decimal:
        return sum((Decimal(amounts.get(unit, 0)) for _, _, amounts in self._held.values()), Decimal(0))


class Budgets:
    """The budgets of one connection, each of them once, so that its users share their way to the record."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[str, Budget] = OrderedDict()

    def get(self, key: str, limits: Amounts) -> Budget:
        """The budget under a key of the bucket, whose words are joined by dots."""
        budget = self._known.get(key)
        if budget is None:
            budget = self._known[key] = Budget(Cell(self._bus, key, BUCKET), limits)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        budget.limits = limits
        return budget
