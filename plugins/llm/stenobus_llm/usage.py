"""``stenobus llm usage``: what the run record says was spent, by run, task, target, day or caller."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from rich.console import Console
from rich.table import Table

from stenobus_core.cli.figures import short
from stenobus_core.cli.running import print_json, run, services, settings
from stenobus_core.runs import Step

from .bill import Spent, spent

By = Literal["run", "task", "target", "day", "caller"]
BY: Final[tuple[By, ...]] = get_args(By)

HANDLER: Final = "llm"
#: What a step says nothing about.
_NOBODY: Final = "unknown"
#: The least that is shown of a cost.
_LEAST: Final = Decimal("0.0001")


@dataclass(slots=True)
class Usage:
    """What some requests took."""

    requests: int = 0
    failed: int = 0
    #: Requests that an earlier answer did for.
    cached_answers: int = 0
    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    #: US dollars of the calls whose price is known.
    known: Decimal = Decimal(0)
    #: Calls whose price is not known.
    unpriced: int = 0

    def spend(self, part: Spent) -> None:
        """Add what was spent at a target."""
        self.calls += part.calls
        self.input, self.output, self.cached = (
            self.input + part.input,
            self.output + part.output,
            self.cached + part.cached,
        )
        self.estimated = self.estimated or part.estimated
        self.known, self.unpriced = self.known + part.cost_usd, self.unpriced + part.unpriced

    def request(self, row: Row) -> None:
        """Add a request."""
        self.requests += 1
        self.failed, self.cached_answers = self.failed + row.failed, self.cached_answers + row.cached

    @property
    def cost(self) -> str:
        """The cost for people; what is not known is said."""
        if not self.unpriced:
            return _dollars(self.known)
        return f"{_dollars(self.known)} + unknown" if self.known else "unknown"

    def told(self) -> dict[str, Any]:
        """For scripts; ``cost_usd`` is null when a part of it is not known."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "cached_answers": self.cached_answers,
            "calls": self.calls,
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "estimated": self.estimated,
            "cost_usd": None if self.unpriced else f"{self.known:f}",
            "known_cost_usd": f"{self.known:f}",
            "unpriced_calls": self.unpriced,
        }


def _dollars(cost: Decimal) -> str:
    if 0 < cost < _LEAST:
        return f"< ${_LEAST}"
    return f"${cost:,.2f}" if cost >= 100 else f"${cost:,.4f}"


@dataclass(frozen=True, slots=True)
class Row:
    """What is needed of one request's step."""

    run: str
    task: str
    caller: str
    day: str
    target: str
    failed: bool
    cached: bool
    parts: tuple[Spent, ...] = field(default=())

    @classmethod
    def of(cls, step: Step) -> Row:
        """From the run record."""
        facts = step.facts
        parts, lost = spent(facts)
        return cls(
            run=step.run,
            task=str(facts.get("task") or _NOBODY),
            caller=str(facts.get("caller") or _NOBODY),
            day=step.started.astimezone(UTC).date().isoformat(),
            target=str(facts.get("provider") or _NOBODY),
            failed=step.status == "failed" or bool(facts.get("error")),
            cached=bool(facts.get("cached")),
            parts=(*parts, lost) if lost else tuple(parts),
        )


async def rows(steps: AsyncIterable[Step], since: datetime | None = None) -> list[Row]:
    """One row for each request, from its step as it was last written."""
    found: dict[str, Row] = {}
    async for step in steps:
        if since is None or step.started >= since:
            found[step.key] = Row.of(step)
    return list(found.values())


def grouped(found: Iterable[Row], by: By) -> dict[str, Usage]:
    """What was used by each run, task, target, day or caller, in that order: times forward, the others by tokens.

    Under a target stand its own calls, and the requests that it answered or failed last.
    """
    groups: dict[str, Usage] = {}
    for row in found:
        name = getattr(row, by)
        groups.setdefault(name, Usage()).request(row)
        for part in row.parts:
            groups.setdefault(part.target if by == "target" else name, Usage()).spend(part)
    if by == "run":
        return groups  # as they were written
    if by == "day":
        return dict(sorted(groups.items()))
    return dict(sorted(groups.items(), key=lambda item: (-item[1].input - item[1].output, item[0])))


def total(found: Iterable[Row]) -> Usage:
    """What all of them used."""
    everything = Usage()
    for row in found:
        everything.request(row)
        for part in row.parts:
            everything.spend(part)
    return everything


def usage(by: By, since: datetime | None, run_id: str | None, as_json: bool) -> None:
    """Print it."""
    run(_usage(by, since, run_id, as_json))


async def _usage(by: By, since: datetime | None, run_id: str | None, as_json: bool) -> None:
    async with services(settings()) as (_, opened):
        found = await rows(opened.runs.of(HANDLER, run_id, since), since)
    groups, everything = grouped(found, by), total(found)
    if as_json:
        told = [{by: name, **each.told()} for name, each in groups.items()]
        print_json({"by": by, "since": since, "run": run_id, "rows": told, "total": everything.told()})
        return
    if not found:
        Console(stderr=True).print("No request in the run record.")
        return
    Console(highlight=False, markup=False).print(_table(by, groups, everything))


def _table(by: By, groups: dict[str, Usage], everything: Usage) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=len(groups) > 1)
    table.add_column(by.capitalize(), "total", overflow="fold", min_width=10)
    cells = list(zip(*[_cells(each) for each in (*groups.values(), everything)], strict=True))
    for name, column in zip(_COLUMNS, cells, strict=True):
        wide = name == "Cost"  # folded between words where the terminal is narrow
        table.add_column(name, column[-1], justify="right", no_wrap=not wide, min_width=9 if wide else None)
    for name, each in groups.items():
        table.add_row(name, *_cells(each))
    return table


#: Reused are earlier answers that did for a request; cached are tokens, of those that went in.
_COLUMNS: Final = ("Asked", "Failed", "Reused", "Calls", "In", "Cached", "Out", "Cost")


def _cells(each: Usage) -> Iterator[str]:
    about = "~" if each.estimated else ""
    for count in (each.requests, each.failed, each.cached_answers, each.calls):
        yield short(count)
    for tokens in (each.input, each.cached, each.output):
        yield f"{about}{short(tokens)}"
    yield each.cost
