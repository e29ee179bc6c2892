"""``stenobus status``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stenobus_bus.pause import Place, places

from ..runs import Step
from ..service import Alive, alive
from ..services import Services
from ..settings import CoreSettings
from ..watching import overall
from .running import print_json, run, services, settings
from .watch import follow


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--watch", is_flag=True, help="Follow RUN, or the latest one, until it ends; exits with 1 if it failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; with --watch one a line, per change.")
def status(run_id: str | None, watch: bool, as_json: bool) -> None:
    """Show the running services and the latest runs, or the steps of one run.

    The same is visible with `nats micro ls` and `nats kv watch stenobus_runs`.
    """
    found = settings()
    if watch:
        raise SystemExit(0 if run(_watch(found, run_id, as_json)) else 1)
    run(_status(found, run_id, as_json))


async def _watch(found: CoreSettings, run_id: str | None, as_json: bool) -> bool:
    async with services(found) as (_, opened):
        return await follow(opened, run_id, as_json=as_json)


async def _status(found: CoreSettings, run_id: str | None, as_json: bool) -> None:
    async with services(found) as (session, opened):
        if run_id:
            steps = await opened.steps(run_id)
            if not steps:
                raise click.ClickException(f"There is no run {run_id}; `stenobus status` lists the latest ones.")
            if as_json:
                print_json(
                    {"run": run_id, "steps": [step.model_dump(mode="json", exclude_none=True) for step in steps]}
                )
            else:
                Console(highlight=False, markup=False).print(_steps(steps))
            return
        answered = await alive(session.bus)
        runs = await _runs(opened)
        paused = [place for place in await places(session.bus) if place.paused_until]
        if as_json:
            found_services = [{"service": a.plugin, "id": a.id, "handlers": a.handlers} for a in answered]
            held = [asdict(place) for place in paused]
            print_json({"server": session.url, "services": found_services, "paused": held, "runs": runs})
        else:
            _overview(session.url, answered, runs)
            _held_back(paused)


async def _runs(opened: Services, limit: int = 20) -> list[dict[str, Any]]:
    groups = {name: await opened.steps(name) for name in await opened.latest(limit)}
    return [
        {"run": name, "status": overall(group), "steps": len(group), "started": group[0].started}
        for name, group in groups.items()
        if group
    ]


def _steps(steps: list[Step]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("Handler", "Status", "Attempt", "Seconds", "Message"):
        table.add_column(name)
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.2f}"
        state = f"{step.status} {step.progress:.0%}" if step.status == "running" else step.status
        note = "from cache" if step.cached else step.message or ""
        table.add_row(step.handler, state, str(step.attempt), seconds, note)
    return table


def _overview(url: str, answered: list[Alive], runs: list[dict[str, Any]]) -> None:
    console = Console(highlight=False, markup=False)
    console.print(f"Server {url}")
    if not answered:
        console.print("No service is running; start them with `stenobus up`.")
    for service in answered:
        for name, stats in service.handlers.items():
            ready = "ready" if stats["ready"] else "not ready"
            console.print(f"  {name:<22} {ready}, {stats['handled']} handled, {stats['failures']} failed attempts")
    if runs:
        console.print("Latest runs")
    for entry in runs:
        console.print(
            f"  {entry['run']:<40} {entry['status']:<9} {entry['steps']} steps, {entry['started']:%Y-%m-%d %H:%M}"
        )


def _held_back(paused: list[Place]) -> None:
    for place in paused:
        assert place.paused_until is not None
        until = f"{place.paused_until.astimezone():%Y-%m-%d %H:%M:%S}"
        click.echo(f"Paused: {place.consumer} until {until}, {place.pending} waiting")
