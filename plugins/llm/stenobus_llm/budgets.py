"""What callers and runs may spend: reserved as an estimate before a target is asked, settled with what it took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

import structlog

from stenobus_bus import Budget, Held, ServerUnavailable, Shortfall
from stenobus_bus.envelope import token
from stenobus_contracts import TokenUsage

from .bill import Spent
from .failures import Failure
from .prices import Prices
from .settings import Rule, Target

log = structlog.get_logger("llm")

TOKENS: Final = "tokens"
USD: Final = "usd"


def period(rule: Rule, run: str, now: datetime) -> tuple[str, datetime | None]:
    """The name of the period that a rule is in, and when it ends; None where it ends with the run."""
    if rule.per == "hour":
        return f"{now:%Y-%m-%dT%H}", now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if rule.per == "day":
        return f"{now:%Y-%m-%d}", midnight + timedelta(days=1)
    if rule.per == "month":
        return f"{now:%Y-%m}", (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return token(run), None


@dataclass(frozen=True, slots=True)
class Request:
    """Whose request it is.

    Args:
        id: of the request; the same at every attempt.
        caller: who sent it.
    """

    id: str
    caller: str
    run: str

    @property
    def who(self) -> str:
        """A short name for it."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:16]


class Purse:
    """What one request may spend, of all the budgets it falls under.

    Args:
        rules: the budgets of the settings.
        request: whose.
        prices: what targets cost.
        budget: finds a budget by its name and limits.
        lost: what the call took that an earlier process did not see the end of.
        now: the time, in UTC.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        request: Request,
        prices: Prices,
        budget: Callable[[str, Mapping[str, Decimal]], Budget],
        lost: Spent | None = None,
        now: datetime | None = None,
    ) -> None:
        self._request, self._prices = request, prices
        self._lost = {TOKENS: Decimal(lost.usage.total), USD: lost.cost_usd} if lost else {}
        self._budgets: list[tuple[Rule, datetime | None, Budget]] = []
        for rule in rules:
            if any(fnmatchcase(request.caller, pattern) for pattern in rule.callers):
                name, end = period(rule, request.run, now or datetime.now(UTC))
                whose = f".{token(request.caller)}" if rule.each_caller else ""
                self._budgets.append((rule, end, budget(f"{rule.name}.{name}{whose}", rule.limits)))
        self._held: list[Held] = []

    async def reserve(self, target: Target, estimate: TokenUsage) -> Failure | None:
        """Hold what a request is estimated to take at a target.

        Returns:
            Why a budget cannot pay it; then nothing is held.

        Raises:
            ServerUnavailable: a budget's record does not answer.
        """
        self._held.clear()  # it is taken over
        cost = self._prices.cost(target, estimate)
        amounts = {TOKENS: Decimal(estimate.total)} | ({} if cost is None else {USD: cost})
        for rule, end, budget in self._budgets:
            if cost is None and rule.usd is not None and rule.unknown_price == "refuse":
                refused = Failure(
                    "over_budget",
                    f"The price of the target {target.name} is unknown, and the budget {rule.name} is in US dollars; "
                    'state the target\'s prices, or let it through by unknown_price = "allow".',
                )
            else:
                found = await budget.reserve(self._request.who, amounts, self._lost)
                if isinstance(found, Held):
                    self._held.append(found)
                    continue
                refused = Failure("over_budget", _told(rule, end, target, found))
            await self.settle(None, TokenUsage())
            return refused
        return None

    async def settle(self, target: Target | None, used: TokenUsage) -> None:
        """Say what it really took; nothing where no target was asked after all.

        A budget that does not answer keeps what was held until its lease ends.
        """
        held, self._held = self._held, []
        cost = self._prices.cost(target, used) if target else None
        amounts = {TOKENS: Decimal(used.total)} | ({} if cost is None else {USD: cost}) if used.total else {}
        for each in held:
            try:
                await each.settle(amounts)
            except ServerUnavailable as error:
                log.warning("budget.unsettled", request=self._request.id, error=str(error))


def _told(rule: Rule, end: datetime | None, target: Target, short: Shortfall) -> str:
    left, limit, wanted = (
        _amount(short.unit, number) for number in (max(short.left, Decimal(0)), short.limit, short.wanted)
    )
    until = f"it is renewed at {end:%Y-%m-%d %H:%M} UTC" if end else "it is for the whole run"
    return (
        f"The budget {rule.name} has {left} left of {limit}, and the request takes about {wanted} at the target "
        f"{target.name} (estimated); {until}."
    )


def _amount(unit: str, number: Decimal) -> str:
    return f"${number.normalize():f}" if unit == USD else f"{number:,f} tokens"
