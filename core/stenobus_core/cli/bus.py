"""``stenobus bus``."""

from __future__ import annotations

import click

from stenobus_bus import Change

from ..discovery import discover
from ..host import Host
from ..session import connect
from ..settings import CoreSettings
from .running import print_json, run, settings


@click.group()
def bus() -> None:
    """Streams, consumers, buckets and schedules as code."""


@bus.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plan(as_json: bool) -> None:
    """Show what `apply` would change; exits with 2 when there is something."""
    found = settings()
    changes = run(_plan(found))
    _show(changes, as_json, "to change")
    raise SystemExit(2 if any(change.action != "none" for change in changes) else 0)


@bus.command("apply")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def apply_(as_json: bool) -> None:
    """Create what is missing and update what differs; settings made by others stay."""
    found = settings()
    _show(run(_apply(found)), as_json, "changed")


async def _plan(found: CoreSettings) -> list[Change]:
    async with connect(found) as session:
        return await Host(found, session.bus, list(discover(found).plugins.values())).plan()


async def _apply(found: CoreSettings) -> list[Change]:
    async with connect(found) as session:
        return await Host(found, session.bus, list(discover(found).plugins.values())).declare()


def _show(changes: list[Change], as_json: bool, verb: str) -> None:
    if as_json:
        print_json([{"action": c.action, "what": c.what, "differences": c.differences} for c in changes])
        return
    for change in changes:
        if change.action != "none":
            click.echo(str(change))
    same = sum(change.action == "none" for change in changes)
    click.echo(f"{len(changes) - same} {verb}, {same} as wanted.")
