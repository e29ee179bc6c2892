"""``stenobus monitor silence``, ``unsilence`` and ``silences``."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from .asking import asked, asks, ending, tell, to_come


@click.command()
@click.argument("until", metavar="DURATION", callback=to_come)
@click.option("--kind", default="*", show_default=True, help="Kinds of incidents, wildcards allowed.")
@click.option("--component", default="*", show_default=True, help="Components, wildcards allowed.")
@asks
def silence(until: datetime, kind: str, component: str, by: str, reason: str) -> None:
    """Tell nobody of some incidents for a while.

    DURATION is such as 90s, 15m, 2h or 7d, or an ISO 8601 time until which it lasts.

    They are recorded all the same, and no action is proposed. Incidents that are open already stay as they are.
    """
    from ..silences import Silence

    wanted = Silence(id=uuid.uuid4().hex[:12], kind=kind, component=component, until=until, by=by, reason=reason)
    asked(lambda store: store.put_silence(wanted))
    tell(f"Silence {wanted.id}", until, f"unsilence {wanted.id}")


unsilence = ending("unsilence", lambda store, found: store.remove_silence(found), "End a silence at once.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def silences(as_json: bool) -> None:
    """List the silences in force."""
    from stenobus_core.cli.running import print_json

    found = [each for each in asked(lambda store: store.silences()) if each.until > datetime.now(UTC)]
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
