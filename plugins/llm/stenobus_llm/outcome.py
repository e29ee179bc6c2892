"""What became of a request, and what was spent on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stenobus_contracts import LlmDone, LlmRequest

from .bill import Bill
from .failures import Failure
from .providers import Completion
from .selection import Candidate
from .settings import EXTRACTIVE, Target


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result, and how it came about."""

    result: Completion | Failure
    bill: Bill
    considered: Sequence[Candidate] = ()
    asked: Sequence[Target] = ()
    seconds: float = 0.0
    #: Seconds to the answer's first piece, where it came in pieces.
    first: float | None = None
    #: How many values were hidden from who was asked, by kind.
    redacted: Mapping[str, int] = field(default_factory=dict)
    #: The target that answered an identical request before; nobody was asked now.
    cached: Target | None = None

    def done(self, request: LlmRequest, request_id: str, caller: str | None = None) -> LlmDone:
        """The outcome as the asker hears of it."""
        completed = self.result if isinstance(self.result, Completion) else None
        answered = self.cached or (self.asked[-1] if self.asked else None)
        return LlmDone(
            request_id=request_id,
            task=request.task,
            text=self.result.text,
            data=completed.data if completed else None,
            tool_calls=completed.tool_calls if completed else (),
            provider=answered.name if answered else "router",
            model=self.result.model,
            caller=caller,
            method="extractive" if answered and answered.kind == EXTRACTIVE else "model",
            finish_reason=self.result.finish_reason,
            usage=self.bill.usage,
            cost_usd=self.bill.cost,
            prices=self.bill.prices,
            cached=self.cached is not None,
            calls=self.bill.calls,
            repairs=self.bill.repairs,
            first_token_seconds=None if self.first is None else round(self.first, 4),
            seconds=round(self.seconds, 3),
            error=self.result.error if isinstance(self.result, Failure) else None,
            candidates=tuple(candidate.told(self.asked) for candidate in self.considered),
        )
