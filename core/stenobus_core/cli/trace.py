"""``stenobus trace``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stenobus_bus import Bus
from stenobus_bus.dead_letters import Entry, letters
from stenobus_bus.envelope import REPLAY
from stenobus_bus.history import Remembered, read
from stenobus_bus.shadow import DOMAIN as SHADOW_DOMAIN
from stenobus_bus.topology import domain
from stenobus_contracts import registry

from ..discovery import discover
from ..lineage import Kind, Lineage, Node, Totals, cost, fold, lineage, tokens
from ..runs import Step
from ..settings import CoreSettings
from .figures import data, duration
from .running import print_json, run, services, settings

#: Siblings of one kind from which on most of them are shown as one line.
_MANY: Final = 12
#: How long before the event of a run's first recorded step another event of it may have been stored.
_BEFORE: Final = timedelta(hours=1)
#: Characters of a figure, and the fewest of a time bar.
_FIGURE, _BAR = 8, 15
#: How a phase is drawn, the one that must not be overlooked last.
_DRAWN: Final[dict[Kind, tuple[str, str]]] = {
    "wait": ("░", "dim"), "pause": ("┄", "yellow"), "work": ("█", "green"), "failed": ("█", "red"),
}  # fmt: skip
_STATUS: Final = {"done": "green", "running": "cyan", "retrying": "yellow", "failed": "bold red"}


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--limit", type=click.IntRange(0), default=300, show_default=True, help="Most lines; 0 is no limit.")
@click.option("--all", "everything", is_flag=True, help="Show every event, however many are alike.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with everything.")
def trace(run_id: str, limit: int, everything: bool, as_json: bool) -> None:
    """Show a run as a tree: which event led to which, by whom, how long it waited and took, what went wrong.

    The bars show ░ waiting in the stream, █ work (red: an attempt that failed), ┄ waiting for the next attempt.
    """
    run(_trace(settings(), run_id, 0 if everything else limit, everything, as_json))


async def _trace(found: CoreSettings, run_id: str, limit: int, everything: bool, as_json: bool) -> None:
    discover(found)
    async with services(found) as (session, opened):
        steps = await opened.runs.steps(run_id)
        events = await _events(session.bus, run_id, steps)
        if not events:
            raise click.ClickException(f"There is no event of a run {run_id}; `stenobus status` lists the latest runs.")
        run_name = events[0].run
        buried = [entry async for entry in letters(session.bus) if entry.letter.run == run_name]
    whole = lineage(run_name, events, steps, buried)
    if as_json:
        print_json(_document(whole, events, steps, buried))
        return
    if not everything:
        fold(whole.root, _MANY)
    console = Console(highlight=False)
    for line in picture(whole, console.width, limit):
        console.print(line, soft_wrap=True)


async def _events(bus: Bus, run_id: str, steps: list[Step]) -> list[Remembered]:
    """The events of a run; what was stored long before its first step is read only if an event is missing."""
    first = min((step.stored for step in steps if step.stored), default=None)
    found = await _since(bus, run_id, first - _BEFORE if first else None)
    known = {event.event_id for event in found}
    causes = {cause for event in found if (cause := event.attributes.get("causationid"))}
    return found if first is None or causes <= known else await _since(bus, run_id, None)


async def _since(bus: Bus, run_id: str, begin: datetime | None) -> list[Remembered]:
    names = dict.fromkeys([*registry.domains(), SHADOW_DOMAIN])
    return [
        event for name in names async for event in read(bus, domain(name).name, f"{name}.>", run=run_id, since=begin)
    ]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where things are on a line."""

    #: Characters of the tree, and of the time bar.
    tree: int
    bar: int

    @classmethod
    def fit(cls, needed: int, width: int) -> _Columns:
        """Give the tree what it needs, as long as a bar is left, and the bar the rest."""
        room = width - 3 * _FIGURE - 1
        tree = max(20, min(needed, room - _BAR))
        return cls(tree, max(_BAR, min(room - tree, 4 * _BAR)))


@dataclass(frozen=True, slots=True)
class _Placed:
    """A node, the lines that lead to it, and the lines that go on below it."""

    node: Node
    guide: str
    under: str


def picture(whole: Lineage, width: int, limit: int = 0) -> Iterator[Text]:
    """The lines of a run.

    Args:
        width: columns of the terminal.
        limit: most lines of the tree; 0 is no limit.
    """
    placed = _placed(whole.root)
    needed = max(cell_len(one.guide) + _label(one.node).cell_len for one in placed)
    columns = _Columns.fit(needed, width)
    yield Text.assemble((whole.run, "bold"), (f"  {whole.begin.astimezone():%Y-%m-%d %H:%M:%S}", "dim"))
    head = Text("".ljust(columns.tree) + " " + f"0 to {duration(whole.totals.seconds)}".ljust(columns.bar), style="dim")
    head.append("".join(name.rjust(_FIGURE) for name in ("wait", "work", "cost")))
    yield head
    shown = 0
    for number, one in enumerate(placed):
        lines = [_line(one.node, one.guide, whole, columns)]
        inner = one.under + ("│ " if one.node.children else "  ")
        lines += [Text.assemble((inner, "dim"), text) for text in _troubles(one.node)]
        shown += len(lines)
        if limit and shown > limit:
            yield Text(f"… and {_some(len(placed) - number, 'line')} more; --limit 0 shows all", style="yellow")
            break
        yield from lines
    yield from _sums(whole.totals, whole.trace)


def _placed(root: Node) -> list[_Placed]:
    """Every node below the root in the order of its lines."""
    found: list[_Placed] = []
    todo = [_Placed(root, "", "")]
    while todo:
        one = todo.pop()
        if one.node is not root:
            found.append(one)
        last = len(one.node.children) - 1
        for number in range(last, -1, -1):
            guides = ("└ ", "  ") if number == last else ("├ ", "│ ")
            todo.append(_Placed(one.node.children[number], one.under + guides[0], one.under + guides[1]))
    return found


def _line(node: Node, guide: str, whole: Lineage, columns: _Columns) -> Text:
    line = Text.assemble((guide, "dim"))
    line.append_text(_label(node))
    line.truncate(columns.tree, overflow="ellipsis", pad=True)
    line.append(" ")
    line.append_text(_bar(node, whole, columns.bar))
    parts = [below for one in node.folded for below in one.all()] if node.folded else [node]
    worked = sum(part.spent("work", "failed") for part in parts)
    waited = sum(part.spent("wait") for part in parts)
    line.append((duration(waited) if any(part.phases for part in parts) else "").rjust(_FIGURE), style="dim")
    line.append((duration(worked) if any(part.phases for part in parts) else "").rjust(_FIGURE))
    line.append(_spent([part.step for part in parts if part.step]).rjust(_FIGURE), style="magenta")
    line.rstrip()
    return line


def _label(node: Node) -> Text:
    if node.folded:
        return _many(node)
    if node.event is not None:
        place = f"  {node.event.stream}/{node.event.sequence} {data(len(node.event.data))}"
        return Text.assemble((node.label, "cyan"), (place, "dim"))
    step = node.step
    if step is None:
        return Text(node.label, style="bold red" if node.letters else "bold" if not node.handler else "green")
    text = Text(step.handler, style=_STATUS[step.status])
    if step.status != "done":
        text.append(f" {step.status}")
    if step.status == "running" and step.progress:
        text.append(f" {step.progress:.0%}")
    if step.attempt > 1:
        text.append(f" attempt {step.attempt}", style="yellow")
    note = "from cache" if step.cached else step.message if step.status in {"running", "done"} else ""
    return text.append(f"  {note}", style="dim") if note else text


def _many(node: Node) -> Text:
    """Siblings in one line: how many, and how their steps ended."""
    states: Counter[str] = Counter(
        below.step.status for one in node.folded for below in one.all() if below.step is not None
    )
    text = Text(f"… {len(node.folded)} more {node.label}", style="cyan")
    for status, count in states.most_common():
        text.append(f"  {count} {status}", style=_STATUS.get(status, ""))
    return text


def _troubles(node: Node) -> Iterator[Text]:
    """What went wrong, a line each."""
    step = node.step
    if step is not None:
        for earlier in step.tries:
            after = "" if earlier.seconds is None else f" after {duration(earlier.seconds)}"
            yield Text(f"attempt {earlier.attempt}{after}: {_line_of(earlier.error)}", style="yellow")
    for entry in node.letters:
        letter = entry.letter
        tries = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
        said = f"dead letter {entry.sequence}: {letter.reason} after {tries}: {_line_of(letter.message)}"
        yield Text(said, style="bold red")
    if step is not None and step.status == "failed" and not node.letters:  # retried or purged since
        yield Text(f"{step.reason or 'failed'}: {_line_of(step.message or '')}", style="red")


def _line_of(text: str) -> str:
    """A message on one line."""
    return " ".join(text.split())


def _bar(node: Node, whole: Lineage, width: int) -> Text:
    total = max(whole.totals.seconds, 1e-6)
    cells: list[Kind | None] = [None] * width

    def place(moment: datetime) -> int:
        return min(width - 1, max(0, int((moment - whole.begin).total_seconds() / total * width)))

    phases = [phase for part in ([node] if not node.folded else _inside(node)) for phase in part.phases]
    strength = list(_DRAWN)
    for begin, end, kind in phases:
        for cell in range(place(begin), place(end) + 1):
            before = cells[cell]
            if before is None or strength.index(kind) > strength.index(before):
                cells[cell] = kind
    bar = Text()
    mark = place(node.event.time) if node.event is not None else None
    for number, cell_kind in enumerate(cells):
        if number == mark:
            bar.append("◆", style="cyan")
        elif cell_kind is None:
            bar.append(" ")
        else:
            bar.append(*_DRAWN[cell_kind])
    return bar


def _inside(node: Node) -> list[Node]:
    return [below for one in node.folded for below in one.all()]


def _spent(steps: list[Step]) -> str:
    """Cost, or tokens where the cost is unknown."""
    known = [found for step in steps if (found := cost(step)) is not None]
    if any(known):
        return _money(sum(known, Decimal(0)))
    count = sum(map(tokens, steps))
    return f"{count} tok" if count else ""


def _money(dollars: Decimal) -> str:
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def _sums(totals: Totals, trace_id: str) -> Iterator[Text]:
    money = "cost unknown" if totals.cost is None else _money(totals.cost)
    yield Text()
    paused = f", until further attempts {duration(totals.paused)}" if totals.paused else ""
    yield Text(
        f"Total  {duration(totals.seconds)}: worked {duration(totals.worked)}, waited {duration(totals.waited)}{paused}"
    )
    text = Text(f"       {_some(totals.events, 'event')}, {_some(totals.steps, 'step')}")
    if totals.cached:
        text.append(f", {totals.cached} from cache")
    if totals.replays:
        text.append(f", {_some(totals.replays, 'replay')}")
    if totals.retries:
        text.append(f", {totals.retries} {'retry' if totals.retries == 1 else 'retries'}", style="yellow")
    if totals.dead_letters:
        text.append(f", {_some(totals.dead_letters, 'dead letter')}", style="bold red")
    yield text
    yield Text(f"       {totals.tokens} tokens, {money}")
    yield Text(f"Trace  {trace_id}", style="dim")


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _document(whole: Lineage, events: list[Remembered], steps: list[Step], buried: list[Entry]) -> dict[str, Any]:
    ordered = sorted(events, key=lambda event: (event.timestamp, event.sequence))
    return {
        "run": whole.run,
        "trace": whole.trace,
        "events": [_event(event) for event in ordered],
        "steps": [step.model_dump(mode="json", exclude_none=True) for step in steps],
        "dead_letters": [
            {
                "number": entry.sequence,
                **entry.letter.model_dump(mode="json", exclude={"traceback", "data", "data_base64"}),
            }
            for entry in buried
        ],
        "totals": asdict(whole.totals),
    }


def _event(event: Remembered) -> dict[str, object]:
    found = event.attributes
    return {
        "id": event.event_id,
        "subject": event.subject,
        "stream": event.stream,
        "sequence": event.sequence,
        "time": event.time,
        "bytes": len(event.data),
        "source": found.get("source"),
        "causation": found.get("causationid"),
        "replay": found.get(REPLAY),
        "traceparent": found.get("traceparent"),
    }
