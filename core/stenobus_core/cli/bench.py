"""``stenobus bench``."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import click
import structlog
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from ..discovery import discover
from ..runs import Step
from ..settings import CoreSettings
from ..sizing import BUSY, Need, needs
from .running import print_json, run, services, settings

_UNITS = {"s": 3600.0, "m": 60.0, "h": 1.0, "d": 1 / 24}


@click.command()
@click.option("--load", metavar="N/UNIT", help="Runs you expect, such as 60/h, 2/m or 1000/d: size the plugins for it.")
@click.option("--run", "run_ids", multiple=True, help="Size by this past run; by all finished ones when not given.")
@click.option("--events", type=click.IntRange(100, 1_000_000), default=5_000, show_default=True, help="In each round.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Of which the median counts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(load: str | None, run_ids: tuple[str, ...], events: int, rounds: int, as_json: bool) -> None:
    """Measure the bus on this machine, or size the plugins for a load.

    Without --load: events a second through handlers that do nothing, on a server of its own in a temporary folder.
    With --load: which plugin gives in first, and how many processes each needs, by what past runs took here.
    """
    if load or run_ids:
        _size(_per_hour(load or "60/h"), run_ids, as_json)
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures = asyncio.run(_measure(events, rounds, quiet=as_json))
    if as_json:
        print_json(figures)
        return
    table = Table(box=None, show_header=False, padding=(0, 2))
    for what, value in figures.items():
        table.add_row(what, value if isinstance(value, str) else f"{value:,}")
    Console(highlight=False).print(table)


async def _measure(events: int, rounds: int, *, quiet: bool) -> dict[str, Any]:
    from .. import bench as scenarios  # its contracts are nothing for a server in use

    figures: dict[str, Any] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    async with scenarios.bench() as (found, bus):
        with Progress(*columns, transient=True, console=Console(stderr=True), disable=quiet) as progress:
            task = progress.add_task("")

            async def median(what: str, measure: Callable[[int], Awaitable[float]]) -> None:
                progress.update(task, description=what)
                figures[what] = round(statistics.median([await measure(turn) for turn in range(rounds)]))

            async def filled() -> None:
                await bus.api("STREAM.PURGE.BENCH")
                await scenarios.fill(bus, events)

            async def resting(turn: int, **options: Any) -> float:
                await filled()
                name = f"resting-{turn}-{len(options)}"
                plugin = scenarios.resting(name, concurrency=100, **options)
                return (await scenarios.handle(found, bus, [plugin], events)).per_second

            async def passing(turn: int, hops: int) -> float:
                await filled()
                plugins = scenarios.passing(f"passing-{turn}-{hops}", hops, concurrency=100)
                return (await scenarios.handle(found, bus, plugins, events)).per_second

            async def published(_: int) -> float:
                await bus.api("STREAM.PURGE.BENCH")
                return (await scenarios.publish(bus, events)).per_second

            await median("published, events/s", published)
            await median("handled, events/s", resting)
            await median(
                "handled without ledger and run record, events/s",
                lambda turn: resting(turn, ledger=False, track=False),
            )
            await median("handled and passed on, events/s", lambda turn: passing(turn, 1))
            await median("through a chain of three handlers, events/s", lambda turn: passing(turn, 3))
            progress.update(task, description="latency")
            await bus.api("STREAM.PURGE.BENCH")
            times = await scenarios.latency(found, bus, "latency", 1000, 200)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figures[f"publish to handler at 200 events/s, {name}, ms"] = round(1000 * scenarios.quantile(times, share), 2)
    return figures


def _size(per_hour: float, run_ids: tuple[str, ...], as_json: bool) -> None:
    found = settings()
    handlers = {handler.name: handler for plugin in discover(found).plugins.values() for handler in plugin.handlers}
    steps = run(_steps(found, run_ids))
    result = needs(steps, handlers, per_hour)
    if not result:
        which = f"run {', '.join(run_ids)} with steps that took time" if run_ids else "finished run"
        raise click.ClickException(f"There is no {which}; do one first: stenobus process FILE.")
    count = len({step.run for step in steps})
    if as_json:
        print_json({"per_hour": per_hour, "runs": count, "handlers": [_row(need) for need in result]})
        return
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in ("handler", "events/run", "s/event", "slots", "busy", "processes", "one bears"):
        table.add_column(column, justify="left" if column == "handler" else "right", no_wrap=True)
    for need in result:
        table.add_row(
            need.handler, f"{need.events:.1f}", f"{need.seconds:.3f}", str(need.slots), f"{need.busy:.2f}",
            str(need.processes), _per_hour_text(need.most),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    first = result[0]
    console.print(
        f"\nAt {per_hour:g} runs an hour, by {count} run{'' if count == 1 else 's'} measured here: {first.handler} "
        f"gives in first, and needs {first.processes} process{'' if first.processes == 1 else 'es'} to stay below "
        f"{BUSY:.0%} of its slots.",
        soft_wrap=True,
    )


async def _steps(found: CoreSettings, run_ids: tuple[str, ...]) -> list[Step]:
    async with services(found) as (_, opened):
        if not run_ids:
            return await opened.runs.steps()
        return [step for run_id in run_ids for step in await opened.runs.steps(run_id)]


def _row(need: Need) -> dict[str, Any]:
    return {**asdict(need), "one_process_per_hour": None if math.isinf(need.most) else round(need.most, 1)}


def _per_hour(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)/([smhd])", text.strip())
    if not match or not float(match[1]):
        raise click.BadParameter(f"{text!r} is no load; write 60/h, 2/m or 1000/d.", param_hint="--load")
    return float(match[1]) * _UNITS[match[2]]


def _per_hour_text(rate: float) -> str:
    return "any load" if math.isinf(rate) else f"{rate:,.0f}/h" if rate >= 1 else f"{rate * 24:,.1f}/d"
