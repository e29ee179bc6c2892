"""What a stage asks of models: how far it is, what that took, and what the cache saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from stenobus_contracts import Method, StageUsage, TokenUsage
from stenobus_core import Context


class Tally:
    """Counts the answers of one stage, and shows them in the run record while they come in.

    The facts of the step: ``unit``, ``done`` and ``of`` say how far it is; ``spent_tokens`` and ``spent_usd`` what was
    asked for, ``saved_tokens`` and ``saved_usd`` what the cache answered instead (dollars as text, None where a price
    is not known).

    Args:
        ctx: the stage's surroundings.
        stage: its name.
        of: units of work.
        unit: what one of them is called.
    """

    def __init__(self, ctx: Context[Any, Any], stage: str, of: int = 1, unit: str = "answer") -> None:
        self._ctx, self._stage, self._of, self._unit = ctx, stage, of, unit
        self._done = 0
        self._spent: list[StageUsage] = []
        self._saved: list[StageUsage] = []

    async def add(self, usage: StageUsage, *, saved: bool) -> None:
        """Take in an answer.

        Args:
            usage: what it took.
            saved: it was there before this event; what an earlier attempt at the event asked for was spent on it.
        """
        (self._saved if saved else self._spent).append(usage)
        await self._tell()

    async def unit_done(self) -> None:
        """One more unit is done."""
        self._done += 1
        await self._tell()

    def usage(self, warnings: Iterable[str] = ()) -> StageUsage:
        """What the document took in this stage, whenever that was; a stage that asked nobody is local and free."""
        parts = [*self._spent, *self._saved]
        methods = {part.method for part in parts}
        method: Method = "model" if "model" in methods else "extractive" if "extractive" in methods else "local"
        return StageUsage(
            stage=self._stage,
            method=method,
            provider=_names(part.provider for part in parts),
            model=_names(part.model for part in parts),
            prompt=_names(part.prompt for part in parts),
            tokens=_tokens(parts),
            cost_usd=cost(parts),
            calls=sum(part.calls for part in parts),
            warnings=tuple(warnings),
        )

    async def _tell(self) -> None:
        spent, saved = _tokens(self._spent), _tokens(self._saved)
        self._ctx.note(
            unit=self._unit,
            done=self._done,
            of=self._of,
            spent_tokens=spent.total,
            spent_usd=_plain(cost(self._spent)),
            saved_tokens=saved.total,
            saved_usd=_plain(cost(self._saved)),
        )
        words = [f"{self._unit} {self._done} of {self._of}"]
        if spent.total:
            words.append(f"{'about ' if spent.estimated else ''}{spent.total:,} tokens, {_money(cost(self._spent))}")
        if saved.total:
            words.append(f"saved {saved.total:,} tokens, {_money(cost(self._saved))}")
        await self._ctx.progress(self._done / self._of, "; ".join(words))


def cost(parts: Iterable[StageUsage]) -> Decimal | None:
    """US dollars of several answers together; None as soon as one price is not known."""
    costs = [part.cost_usd for part in parts]
    known = [each for each in costs if each is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _tokens(parts: Sequence[StageUsage]) -> TokenUsage:
    return sum((part.tokens for part in parts), TokenUsage())


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _money(amount: Decimal | None) -> str:
    return "cost unknown" if amount is None else f"${amount:.4f}"


def _names(names: Iterable[str | None]) -> str | None:
    """The names once each, in an order that does not follow from who answered first."""
    return ", ".join(sorted({name for name in names if name})) or None
