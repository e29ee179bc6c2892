"""``stenobus monitor``."""

from __future__ import annotations

import getpass
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .incidents import Entry
    from .store import Store

T = TypeVar("T")


@click.group()
def monitor() -> None:
    """What is wrong with the containers, the bus and the pipeline, and why."""


@monitor.command()
@click.option("--all", "everything", is_flag=True, help="Resolved ones as well.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def incidents(everything: bool, limit: int, as_json: bool) -> None:
    """List incidents, the latest last."""
    from rich.console import Console
    from rich.table import Table

    from stenobus_core.cli.running import print_json

    found = _asked(lambda store: store.incidents())
    found = [entry for entry in found if everything or entry.status == "open"][-limit:]
    if as_json:
        print_json([entry.incident.model_dump(mode="json", exclude_none=True) for entry in found])
        return
    if not found:
        click.echo("Nothing is wrong." if not everything else "Nothing was ever wrong.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Incident", "Since", "Severity", "Kind"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Title", overflow="fold")
    for entry in found:
        one = entry.incident
        severity = "resolved" if one.status == "resolved" else one.severity
        since = one.started_at.astimezone().strftime("%m-%d %H:%M:%S")
        title = f"{one.title} ×{one.occurrences}" if one.occurrences > 1 else one.title
        table.add_row(one.incident_id, since, severity, one.kind, title)
    Console(soft_wrap=False).print(table)


@monitor.command()
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(incident_id: str, as_json: bool) -> None:
    """Show an incident with its evidence."""
    from stenobus_core.cli.running import print_json

    entry: Entry | None = _asked(lambda store: store.incident(incident_id))
    if entry is None:
        raise click.ClickException(f"There is no incident {incident_id}; see `stenobus monitor incidents --all`.")
    one = entry.incident
    if as_json:
        print_json(one.model_dump(mode="json", exclude_none=True))
        return
    click.echo(f"{one.title}")
    ended = f", resolved {one.resolved_at.astimezone():%H:%M:%S}" if one.resolved_at else ""
    times = f", {one.occurrences} times" if one.occurrences > 1 else ""
    click.echo(f"{one.severity} · {one.kind} · {one.component}")
    click.echo(f"since {one.started_at.astimezone():%Y-%m-%d %H:%M:%S}{times}{ended}")
    if one.caused_by:
        click.echo(f"follows from {one.caused_by}")
    if one.affected:
        click.echo(f"affects {', '.join(one.affected)}")
    for line in one.evidence:
        at = f"{line.at.astimezone():%H:%M:%S} " if line.at else ""
        click.echo(f"  [{line.id}] {at}{line.source} ({line.kind}): {line.text}")


@monitor.command()
@click.argument("duration")
@click.option("--kind", default="*", show_default=True, help="Kinds of incidents, wildcards allowed.")
@click.option("--component", default="*", show_default=True, help="Components, wildcards allowed.")
@click.option("--by", default=getpass.getuser, show_default="you", help="Who asks for it.")
@click.option("--reason", default="", help="Why.")
def silence(duration: str, kind: str, component: str, by: str, reason: str) -> None:
    """Say nothing of some incidents for DURATION (90s, 15m, 2h, 7d) or until an ISO 8601 time.

    They are recorded all the same, and no action is proposed. Incidents that are open already stay as they are.
    """
    from stenobus_core.cli.times import ahead

    from .silences import Silence

    until = ahead(duration)
    if until <= datetime.now(UTC):
        raise click.BadParameter(f"{duration!r} is over already; name a time to come.", param_hint="DURATION")
    wanted = Silence(id=uuid.uuid4().hex[:12], kind=kind, component=component, until=until, by=by, reason=reason)
    _asked(lambda store: store.put_silence(wanted))
    click.echo(
        f"Silence {wanted.id} until {until.astimezone():%Y-%m-%d %H:%M:%S %Z}; "
        f"`stenobus monitor unsilence {wanted.id}` ends it."
    )


@monitor.command()
@click.argument("silence_id", metavar="SILENCE")
def unsilence(silence_id: str) -> None:
    """End a silence at once."""
    if not _asked(lambda store: store.remove_silence(silence_id)):
        raise click.ClickException(f"There is no silence {silence_id}; see `stenobus monitor silences`.")
    click.echo(f"Silence {silence_id} is over.")


@monitor.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def silences(as_json: bool) -> None:
    """List the silences that hold."""
    from stenobus_core.cli.running import print_json

    found = [each for each in _asked(lambda store: store.silences()) if each.until > datetime.now(UTC)]
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        reason = f": {each.reason}" if each.reason else ""
        click.echo(
            f"{each.id}  {each.kind} at {each.component} until {each.until.astimezone():%m-%d %H:%M:%S}, "
            f"by {each.by}{reason}"
        )
    if not found:
        click.echo("Nothing is silenced.")


def _asked(ask: Callable[[Store], Awaitable[T]]) -> T:
    """What the store answers."""
    from stenobus_core.cli.running import run, settings
    from stenobus_core.session import connect

    from .store import Store

    async def main() -> T:
        async with connect(settings()) as session:
            return await ask(await Store.open(session.bus))

    return run(main())
