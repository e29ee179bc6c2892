"""``stenobus top``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stenobus_bus import BusError

from ..board import Board, Frame, Row, Running, is_bucket
from ..lag import StreamSize
from ..settings import CoreSettings
from .figures import data, duration, short
from .running import print_json, run, services, settings

#: Ways to sort, the first one at the start: key → what it shows, and the largest first.
_SORTS: Final[dict[str, Callable[[Row], Any]]] = {
    "handler": lambda row: row.handler,
    "lag": lambda row: -(row.lag + row.unsettled),
    "oldest": lambda row: -(row.oldest or 0.0),
    "rate": lambda row: -(row.rate or 0.0),
    "errors": lambda row: -(row.errors or 0.0),
    "p95": lambda row: -(row.p95 or 0.0),
}
#: Columns from which on there is room for plugins and subjects, and for two tables side by side.
_WIDE: Final = 118
#: Age of the oldest event, in seconds, from which on it is pointed out.
_OLD, _VERY_OLD = 60.0, 600.0
#: Columns that give way when there is little room, and their most characters.
_SHRINKING: Final = {"Handler": 40, "Plugin": 24, "Subject": 32}
_STATES: Final = {"ready": "green", "not ready": "red", "paused": "yellow", "nobody": "bold red"}


@click.command()
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds of a look.")
@click.option(
    "--sort", type=click.Choice(list(_SORTS)), default="handler", show_default=True, help="Order of handlers."
)
@click.option("--once", is_flag=True, help="Print one picture and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and end.")
def top(interval: float, sort: str, once: bool, as_json: bool) -> None:
    """Watch handlers, streams, dead letters and runs, in all processes; q quits, s sorts by the next column.

    A handler that no process works for is red. Rates are those of the last interval, so that one picture takes as long.
    """
    run(_top(settings(), interval, sort, once=once, as_json=as_json))


async def _top(found: CoreSettings, interval: float, sort: str, *, once: bool, as_json: bool) -> None:
    async with services(found) as (session, opened):
        board = Board(session.bus, opened.runs)
        frame = await board.look()
        if once or as_json or not sys.stdout.isatty():
            await asyncio.sleep(interval)
            frame = await board.look()
            if as_json:
                print_json(asdict(frame))
            else:
                console = Console(highlight=False)
                console.print(render(frame, console.width, sort=sort, where=session.url))
            return
        await _watch(board, frame, interval, sort, session.url)


async def _watch(board: Board, frame: Frame, interval: float, sort: str, where: str) -> None:
    console = Console(highlight=False)
    keys: asyncio.Queue[str] = asyncio.Queue()
    trouble = ""
    with _typed(keys), Live(console=console, screen=True, auto_refresh=False) as live:
        due = 0.0
        loop = asyncio.get_running_loop()
        while True:
            picture = render(frame, console.width, console.height, sort=sort, where=where, trouble=trouble, keys=True)
            live.update(picture, refresh=True)
            due = max(due + interval, loop.time())
            try:
                async with asyncio.timeout_at(due):
                    key = await keys.get()
            except TimeoutError:
                try:
                    frame, trouble = await board.look(), ""
                except BusError as error:
                    trouble = str(error)  # the last picture stays, and says how old it is
                continue
            due -= interval
            if key in {"q", "Q", "\x03", "\x1b"}:
                return
            if key in {"s", "S"}:
                names = list(_SORTS)
                sort = names[(names.index(sort) + (1 if key == "s" else -1)) % len(names)]


@contextmanager
def _typed(keys: asyncio.Queue[str]) -> Iterator[None]:
    """Put each key into a queue as it is typed; nothing when nobody types."""
    if not sys.stdin.isatty():
        yield
        return
    import os
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    loop = asyncio.get_running_loop()
    tty.setcbreak(number)
    loop.add_reader(number, lambda: keys.put_nowait(os.read(number, 1).decode(errors="replace")))
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def render(
    frame: Frame,
    width: int,
    height: int = 1_000,
    *,
    sort: str = "handler",
    where: str = "",
    trouble: str = "",
    keys: bool = False,
) -> RenderableType:
    """One picture of a frame.

    Args:
        width: columns of the terminal; from 118 on it shows plugins and subjects too.
        height: lines of the terminal; what does not fit is counted.
    """
    wide = width >= _WIDE
    rows = sorted(frame.rows, key=lambda row: (_SORTS[sort](row), row.handler))
    streams = [size for size in frame.streams if not is_bucket(size)]
    room = height - 10
    for_handlers = max(3, min(len(rows), room - min(len(frame.runs), 4) - min(len(streams), 4)))
    below = max(2, (room - for_handlers) if wide else (room - for_handlers) // 2)
    parts: list[RenderableType] = [_head(frame, where, trouble), Text(), _handlers(rows, for_handlers, wide, sort)]
    if wide:
        beside = Table.grid(padding=(0, 4))
        beside.add_row(_streams(streams, below), _runs(frame.runs, below, frame.time))
        parts += [Text(), beside]
    else:
        parts += [Text(), _streams(streams, below), Text(), _runs(frame.runs, below, frame.time)]
    if keys:
        parts.append(Text(f"\nq quits · s sorts (now by {sort})", style="dim"))
    return Group(*parts)


def _head(frame: Frame, where: str, trouble: str) -> Text:
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append("stenobus top", style="bold")
    head.append(f"  {where}  {frame.time.astimezone():%H:%M:%S}\n", style="dim")
    idle = sum(row.state == "nobody" for row in frame.rows)
    letters = sum(frame.dead_letters.values())
    pieces = [
        (_count(len(frame.rows), "handler"), ""),
        (f"{idle} with nobody at work", "bold red" if idle else "dim"),
        (_count(frame.services, "service"), ""),
        (_count(len(frame.runs), "run"), ""),
        (_count(letters, "dead letter"), "bold red" if letters else "dim"),
    ]
    for number, (text, style) in enumerate(pieces):
        head.append(" · " if number else "", style="dim")
        head.append(text, style=style)
    if trouble:
        head.append(f"\n{trouble}", style="bold red")
    return head


def _handlers(rows: list[Row], most: int, wide: bool, sort: str) -> RenderableType:
    if not rows:
        return Text("No handler was ever started on this server; start them with `stenobus up`.", style="yellow")
    table = _table()
    names = ["Handler", *(["Plugin", "Subject"] if wide else []), "State", "Proc", "Hand", "Lag", "Oldest"]
    names += ["Rate/s", "Err/s", "p50", "p95", "Dead"]
    for name in names:
        left = name in {"Handler", "Plugin", "Subject", "State"}
        marked = name.lower().startswith(sort) or (sort, name) in {("rate", "Rate/s"), ("errors", "Err/s")}
        table.add_column(
            f"[underline]{name}[/]" if marked else name,
            justify="left" if left else "right",
            no_wrap=name not in _SHRINKING,
            max_width=_SHRINKING.get(name),
        )
    for row in rows[:most]:
        wanted = [_name(row.handler, "bold red" if row.state == "nobody" else "bold")]
        if wide:
            wanted += [_name(row.plugin, "dim"), _name(row.subject, "cyan")]
        waiting = row.lag + max(0, row.unsettled - row.in_hand)
        table.add_row(
            *wanted,
            Text(row.state, style=_STATES[row.state]),
            Text(str(row.processes), style="" if row.processes else "bold red"),
            Text(f"{row.in_hand}/{row.slots}", style="" if row.in_hand else "dim"),
            Text(short(waiting), style="yellow" if waiting else "dim"),
            _age(row.oldest),
            _per_second(row.rate, "green"),
            _per_second(row.errors, "bold red"),
            _took(row.p50),
            _took(row.p95),
            Text(short(row.dead_letters), style="bold red" if row.dead_letters else "dim"),
        )
    return _with_rest(table, len(rows) - most, "handler")


def _streams(streams: list[StreamSize], most: int) -> RenderableType:
    table = _table()
    for name in ("Stream", "Events", "Size", "Limit", "Full"):
        table.add_column(name, justify="left" if name == "Stream" else "right", no_wrap=True)
    filled = sorted((size for size in streams if size.messages), key=lambda size: (-size.bytes, size.name))
    for size in filled[:most]:
        full = _full(size)
        limits = [
            *([data(size.max_bytes)] if size.max_bytes else []),
            *([short(size.max_messages)] if size.max_messages else []),
            *([duration(size.max_age)] if size.max_age else []),
        ]
        style = "dim" if full is None else "bold red" if full >= 0.9 else "yellow" if full >= 0.7 else "green"
        table.add_row(
            size.name,
            short(size.messages),
            data(size.bytes),
            Text(" ".join(limits) or "none", style="dim"),
            Text("–" if full is None else f"{full:.0%}", style=style),
        )
    if not filled:
        return Text("Every stream is empty.", style="dim")
    return _with_rest(table, len(filled) - most, "stream")


def _runs(runs: list[Running], most: int, now: datetime) -> RenderableType:
    if not runs:
        return Text("No run is in progress.", style="dim")
    table = _table()
    for name in ("Run", "At", "Steps", "Since"):
        right = name in {"Steps", "Since"}
        most_wide = {"Run": 28, "At": 36}.get(name)
        table.add_column(
            name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis", max_width=most_wide
        )
    for one in sorted(runs, key=lambda one: one.started, reverse=True)[:most]:
        at = Text(one.handler)
        if one.status == "retrying":
            at.append(" retrying", style="yellow")
        elif one.progress:
            at.append(f" {one.progress:.0%}", style="green")
        if one.message:
            at.append(f" {one.message}", style="dim")
        table.add_row(one.run, at, str(one.steps), _age((now - one.started).total_seconds()))
    return _with_rest(table, len(runs) - most, "run")


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold dim", show_edge=False)


def _with_rest(table: Table, rest: int, what: str) -> RenderableType:
    return Group(table, Text(f"… and {_count(rest, what)} more", style="dim")) if rest > 0 else table


def _name(text: str, style: str) -> Text:
    """A text that gives way: cut where its column is too narrow."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _full(size: StreamSize) -> float | None:
    """How full a stream is, by the limit that is nearest."""
    shares = [now / limit for now, limit in ((size.bytes, size.max_bytes), (size.messages, size.max_messages)) if limit]
    return max(shares, default=None)


def _age(seconds: float | None) -> Text:
    if seconds is None:
        return Text("?", style="yellow")
    style = "bold red" if seconds >= _VERY_OLD else "yellow" if seconds >= _OLD else "" if seconds else "dim"
    return Text(duration(seconds) if seconds else "–", style=style)


def _took(seconds: float | None) -> Text:
    return Text("–", style="dim") if seconds is None else Text(duration(seconds))


def _per_second(value: float | None, style: str) -> Text:
    if not value:
        return Text("–" if value is None else "0", style="dim")
    return Text(f"{value:.1f}" if value < 100 else short(round(value)), style=style)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
