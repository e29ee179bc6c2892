"""``stenobus monitor silence``, ``unsilence`` and ``silences``."""

from __future__ import annotations

import getpass
import uuid
from datetime import UTC, datetime

import click

from .asking import asked


@click.command()
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

    from ..silences import Silence

    until = ahead(duration)
    if until <= datetime.now(UTC):
        raise click.BadParameter(f"{duration!r} is over already; name a time to come.", param_hint="DURATION")
    wanted = Silence(id=uuid.uuid4().hex[:12], kind=kind, component=component, until=until, by=by, reason=reason)
    asked(lambda store: store.put_silence(wanted))
    click.echo(
        f"Silence {wanted.id} until {until.astimezone():%Y-%m-%d %H:%M:%S %Z}; "
        f"`stenobus monitor unsilence {wanted.id}` ends it."
    )


@click.command()
@click.argument("silence_id", metavar="SILENCE")
def unsilence(silence_id: str) -> None:
    """End a silence at once."""
    if not asked(lambda store: store.remove_silence(silence_id)):
        raise click.ClickException(f"There is no silence {silence_id}; see `stenobus monitor silences`.")
    click.echo(f"Silence {silence_id} is over.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def silences(as_json: bool) -> None:
    """List the silences that hold."""
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
