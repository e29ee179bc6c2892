"""What a request took so far, by target: every call of every attempt, whichever process made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from stenobus_contracts import TokenUsage

from .failures import Failure
from .prices import Prices
from .providers import Completion
from .settings import Target

#: Facts of the run record that hold a bill.
SPENT: Final = "spent"
ASKING: Final = "asking"


class Spent(BaseModel):
    """What the calls of one target took."""

    model_config = ConfigDict(extra="ignore")

    target: str
    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    #: US dollars of the calls whose price is known.
    cost_usd: Decimal = Decimal(0)
    #: Calls whose price is not known.
    unpriced: int = 0
    #: Version of the price table.
    prices: str | None = None

    @property
    def usage(self) -> TokenUsage:
        """The tokens."""
        return TokenUsage(input=self.input, output=self.output, cached=self.cached, estimated=self.estimated)

    def add(self, usage: TokenUsage, cost: Decimal | None, prices: str | None) -> None:
        """Another call came to its end."""
        self.calls += 1
        self.input, self.output, self.cached = (
            self.input + usage.input, self.output + usage.output, self.cached + usage.cached,
        )  # fmt: skip
        self.estimated = self.estimated or usage.estimated
        self.cost_usd, self.unpriced = self.cost_usd + (cost or 0), self.unpriced + (cost is None)
        self.prices = prices or self.prices


_SPENT: Final = TypeAdapter(list[Spent])
_ASKING: Final = TypeAdapter(Spent | None)


def spent(facts: Mapping[str, JsonValue]) -> tuple[list[Spent], Spent | None]:
    """What a step's facts say was spent, and a call of which nobody saw the end; nothing when they say nothing."""
    try:
        return _SPENT.validate_python(facts.get(SPENT) or []), _ASKING.validate_python(facts.get(ASKING))
    except ValidationError:  # another version's, or a stranger's
        return [], None


class Bill:
    """What the calls for one request took, failed ones and repairs among them.

    Args:
        prices: what targets cost.
        earlier: facts that earlier attempts at the request noted. A call that was on its way when their process died
            counts as what was estimated: nobody knows what it took.
        note: keeps facts in the run record.
        count: told of every call that came to its end, and of the class of its failure.

    Attributes:
        lost: what that call took; None when there was none.
    """

    def __init__(
        self,
        prices: Prices,
        earlier: Mapping[str, JsonValue] | None = None,
        note: Callable[[dict[str, JsonValue]], None] = lambda facts: None,
        count: Callable[[Spent, str | None], None] = lambda call, failure: None,
    ) -> None:
        self._prices, self._note, self._count = prices, note, count
        self._targets: dict[str, Spent] = {}
        self._asking: Spent | None = None
        before = earlier or {}
        parts, self.lost = spent(before)
        repairs = before.get("repairs")
        #: How often an answer had to be mended.
        self.repairs = repairs if isinstance(repairs, int) else 0
        for part in [*parts, *([self.lost] if self.lost else [])]:
            self._merge(part)
        if self.lost:
            self._keep()

    def _merge(self, part: Spent) -> None:
        known = self._targets.setdefault(part.target, Spent(target=part.target))
        calls = known.calls + part.calls
        known.add(part.usage, part.cost_usd, part.prices)
        known.calls, known.unpriced = calls, known.unpriced + part.unpriced

    def begin(self, target: Target, estimate: TokenUsage) -> None:
        """A target is about to be asked: should nobody live to hear the answer, the estimate counts."""
        self._asking = Spent(target=target.name)
        self._asking.add(estimate, self._prices.cost(target, estimate), self._version(target))
        self._keep()

    def add(self, target: Target, result: Completion | Failure) -> None:
        """The call came to its end."""
        self._asking = None
        call = Spent(target=target.name)
        call.add(result.usage, self._prices.cost(target, result.usage), self._version(target))
        self._merge(call)
        self._count(call, result.code if isinstance(result, Failure) else None)
        self._keep()

    def _version(self, target: Target) -> str | None:
        quote = self._prices.quote(target)
        return quote.version if quote else None

    def _keep(self) -> None:
        self._note(self.facts)

    @property
    def calls(self) -> int:
        """How often a target was asked."""
        return sum(entry.calls for entry in self._targets.values())

    @property
    def usage(self) -> TokenUsage:
        """Tokens of all calls."""
        return sum((entry.usage for entry in self._targets.values()), TokenUsage())

    @property
    def cost(self) -> Decimal | None:
        """US dollars of all calls; None when the price of one of them is not known."""
        entries = self._targets.values()
        return None if any(entry.unpriced for entry in entries) else sum((e.cost_usd for e in entries), Decimal(0))

    @property
    def prices(self) -> str | None:
        """Versions of the price tables the cost was worked out by; None when there was no price to look for."""
        return ", ".join(sorted({entry.prices for entry in self._targets.values() if entry.prices})) or None

    @property
    def facts(self) -> dict[str, JsonValue]:
        """What the run record keeps."""
        entries = list(self._targets.values())
        return {
            SPENT: _SPENT.dump_python(entries, mode="json", exclude_defaults=True),
            ASKING: _ASKING.dump_python(self._asking, mode="json", exclude_defaults=True),
            "repairs": self.repairs,
            "tokens": self.usage.total,
            "cost_usd": None if self.cost is None else f"{self.cost:f}",
            "prices": self.prices,
        }
