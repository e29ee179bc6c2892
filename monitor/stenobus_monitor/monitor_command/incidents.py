"""``stenobus monitor incidents`` and ``stenobus monitor show``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .asking import asked

if TYPE_CHECKING:
    from ..incidents import Entry
    from ..store import Store


@click.command()
@click.option("--all", "everything", is_flag=True, help="Resolved ones as well.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def incidents(everything: bool, limit: int, as_json: bool) -> None:
    """List what is wrong now, the latest last."""
    from rich.console import Console
    from rich.table import Table

    from stenobus_core.cli.running import print_json

    from ..pulse import KEY, unwatched

    async def ask(store: Store) -> tuple[list[Entry], str | None]:
        return await store.incidents(), unwatched(await store.get(KEY), datetime.now(UTC))

    found, trouble = asked(ask)
    found = [entry for entry in found if everything or entry.status == "open"][-limit:]
    if as_json:
        print_json([entry.incident.model_dump(mode="json", exclude_none=True) for entry in found])
        return
    if trouble is not None:
        click.echo(trouble, err=True)
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


@click.command()
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(incident_id: str, as_json: bool) -> None:
    """Explain an INCIDENT: its cause, the evidence, the actions.

    What proves the probable cause is marked *.
    """
    from stenobus_core.cli.running import print_json

    from ..account import Account
    from ..hypotheses import HYPOTHESES

    account = asked(lambda store: Account.read(store, incident_id))
    if account is None:
        raise click.ClickException(f"There is no incident {incident_id}; see `stenobus monitor incidents --all`.")
    if as_json:
        print_json(account.document())
        return
    one, found = account.incident, account.diagnosis
    click.echo(f"{one.title}")
    ended = f", resolved {one.resolved_at.astimezone():%H:%M:%S}" if one.resolved_at else ""
    times = f", {one.occurrences} times" if one.occurrences > 1 else ""
    click.echo(f"{one.severity} · {one.kind} · {one.component}")
    click.echo(f"since {one.started_at.astimezone():%Y-%m-%d %H:%M:%S}{times}{ended}")
    if one.caused_by:
        click.echo(f"follows from {one.caused_by}")
    if one.affected:
        click.echo(f"affects {', '.join(one.affected)}")
    says = HYPOTHESES[found.cause].says if found.cause in HYPOTHESES else found.cause
    click.echo(f"probable cause: {says} ({found.cause}, {found.confidence:.2f}, by {found.method})")
    if found.recommendation:
        click.echo(f"recommended: {found.recommendation}")
    for line in one.evidence:
        at = f"{line.at.astimezone():%H:%M:%S} " if line.at else ""
        proof = "*" if line.id in found.evidence else " "
        click.echo(f" {proof}[{line.id}] {at}{line.source} ({line.kind}): {line.text}")
    for deed in account.deeds:
        click.echo(f"action {deed.action.action_id}: {deed.sentence}")
    if account.label is not None:
        click.echo(f"label: {account.label.sentence}")
