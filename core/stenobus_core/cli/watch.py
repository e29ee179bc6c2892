"""``stenobus status --watch``: one run, live on a terminal, a line per change elsewhere, or one JSON document each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..services import Services
from ..watching import Picture, Stage, watch
from .figures import duration
from .progress import MARKS

#: Characters of a bar.
_BAR = 16
_STYLES = {"running": "cyan", "retrying": "yellow", "done": "green", "failed": "bold red"}


async def follow(opened: Services, run_id: str | None, *, as_json: bool) -> bool:
    """Show a run, the latest one by default, until it ends.

    Returns:
        Whether it went well.

    Raises:
        click.ClickException: there is no such run.
    """
    name = run_id or next(iter(await opened.runs.latest(1)), None)
    if name is None:
        raise click.ClickException("There is no run yet; start one by `stenobus process` or `stenobus publish`.")
    if not await opened.steps(name):
        raise click.ClickException(f"There is no run {name}; `stenobus status` lists the latest ones.")
    status = "running"
    with _shown(as_json=as_json) as show:
        async for each in watch(opened, name):
            show(each)
            status = each.status
    return status == "done"


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Callable[[Picture], None]]:
    console = Console(highlight=False, markup=False)
    if as_json:
        yield lambda each: click.echo(json.dumps(asdict(each), ensure_ascii=False, default=str))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda each: live.update(render(each), refresh=True)
    else:
        lines = Lines()

        def tell(each: Picture) -> None:
            for line in lines.of(each):
                click.echo(line)

        yield tell


def render(shown: Picture) -> Group:
    """A picture for a terminal."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "Stage", "Done", "", "Time", "What"):
        table.add_column(name, no_wrap=name != "What", justify="right" if name == "Time" else "left")
    for stage in shown.stages:
        style = _STYLES[stage.status]
        table.add_row(
            Text(MARKS[stage.status], style=style),
            Text(_name(stage), style="bold" if stage.status == "running" else ""),
            Text(_bar(stage.progress), style=style),
            _count(stage),
            "" if stage.seconds is None else duration(stage.seconds),
            Text(stage.message, style=style if stage.status in {"failed", "retrying"} else "dim"),
        )
    end = Text(f"{shown.run}: {shown.status}" if shown.ended else shown.run, style="bold")
    end.append(f"  {spent(shown)}", style="dim")
    for reason in shown.waiting:
        end.append(f"  {reason}", style="yellow")
    return Group(table, Text(), end)


class Lines:
    """Plain lines: one for each stage that changed, with what the run took so far, and one for its end."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, str | None], tuple[str, str]] = {}
        self._spent = ""

    def of(self, shown: Picture) -> Iterator[str]:
        """What is new in a picture."""
        for stage in shown.stages:
            key, said = (stage.handler, stage.event_id, stage.replay), (stage.status, stage.message)
            if self._said.get(key) == said:
                continue
            self._said[key] = said
            took = f" in {stage.seconds:.1f} s" if stage.seconds is not None else ""
            note = f": {stage.message}" if stage.message else ""
            yield f"{MARKS[stage.status]} {_name(stage)}{took}{note}"
        now = spent(shown)
        if shown.ended:
            yield f"{shown.run}: {shown.status}, {now}"
        elif now != self._spent and shown.tokens:
            yield f"  {now} so far"
        self._spent = now


def spent(shown: Picture) -> str:
    """Tokens and cost in a few words."""
    cost = "cost unknown" if shown.cost_usd is None else f"${shown.cost_usd:.4f}"
    return f"{shown.tokens:,} tokens, {cost}"


def _name(stage: Stage) -> str:
    return f"{stage.handler} (attempt {stage.attempt})" if stage.attempt > 1 else stage.handler


def _bar(progress: float) -> str:
    full = round(progress * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _count(stage: Stage) -> str:
    return "" if stage.done is None or stage.of is None else f"{stage.done} of {stage.of}"
