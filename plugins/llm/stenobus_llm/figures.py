"""What a process counts about requests, for ``/metrics``: requests, tokens, cost, calls, failures, seconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from stenobus_bus.stats import Histogram
from stenobus_contracts import LlmDone
from stenobus_core import Figure

from .bill import Spent

#: Tasks that have figures of their own. Their names come from outside: what comes later is counted as OTHER.
MOST_TASKS: Final = 50
OTHER: Final = "other"
#: Characters of a task's name.
_LONGEST: Final = 64


class Figures:
    """Counted since the process began; the run record has what lasts."""

    def __init__(self) -> None:
        self._tasks: set[str] = set()
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._calls: Counter[tuple[str, ...]] = Counter()
        self._failures: Counter[tuple[str, ...]] = Counter()
        self._tokens: Counter[tuple[str, ...]] = Counter()
        self._cost: dict[tuple[str, ...], float] = defaultdict(float)
        self._unpriced: Counter[tuple[str, ...]] = Counter()
        self._seconds: dict[tuple[str, ...], Histogram] = defaultdict(Histogram)
        self._first: dict[tuple[str, ...], Histogram] = defaultdict(Histogram)

    def call(self, task: str, call: Spent, failure: str | None) -> None:
        """A target was asked once.

        Args:
            call: what that took.
            failure: its class, None for an answer.
        """
        labels = (call.target, self._task(task))
        self._calls[labels] += call.calls
        for kind, tokens in (("input", call.input), ("output", call.output), ("cached", call.cached)):
            self._tokens[*labels, kind] += tokens
        self._cost[labels] += float(call.cost_usd)
        self._unpriced[labels] += call.unpriced
        if failure:
            self._failures[*labels, failure] += 1

    def request(self, done: LlmDone) -> None:
        """An asker was answered."""
        labels = (done.provider, self._task(done.task))
        self._requests[*labels, done.error.code if done.error else "cached" if done.cached else "ok"] += 1
        if done.error is None:
            self._seconds[labels].observe(done.seconds)
            if done.first_token_seconds is not None:
                self._first[labels].observe(done.first_token_seconds)

    def _task(self, task: str) -> str:
        task = task[:_LONGEST]
        if task not in self._tasks:
            if len(self._tasks) >= MOST_TASKS:
                return OTHER
            self._tasks.add(task)
        return task

    def told(self) -> list[Figure]:
        """As they are now."""
        labels = ("target", "task")
        return [
            Figure("requests", "Answers to requests, by result", "counter", self._requests, (*labels, "result")),
            Figure("calls", "Times a target was asked", "counter", self._calls, labels),
            Figure("call_failures", "Calls that failed, by class", "counter", self._failures, (*labels, "code")),
            Figure("tokens", "Tokens; cached ones are of the input", "counter", self._tokens, (*labels, "kind")),
            Figure("cost_usd", "US dollars of calls whose price is known", "counter", self._cost, labels),
            Figure("unpriced_calls", "Calls whose price is not known", "counter", self._unpriced, labels),
            Figure("seconds", "Time of an answer, waiting for quota included", "histogram", self._seconds, labels),
            Figure("first_token_seconds", "Time to the first piece", "histogram", self._first, labels),
        ]
