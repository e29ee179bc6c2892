"""``stenobus monitor label`` and ``stenobus monitor precision``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .asking import asked, on_bus

if TYPE_CHECKING:
    from stenobus_bus import Bus
    from stenobus_contracts import Verdict

    from ..labels import Label
    from ..store import Store


@click.command()
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--cause", help="What it was: the name of a cause, as `stenobus monitor show` has them.")
@click.option("--right/--wrong", default=None, help="Whether the diagnosis is.")
@click.option("--action", type=click.Choice(["right", "wrong", "unsafe"]), help="What became of the action.")
@click.option("--on", metavar="KIND", help="The action's kind, where there were several.")
@click.option("--by", default=getpass.getuser, show_default="you", help="Who says so.")
@click.option("--note", help="Why, for people.")
def label(
    incident_id: str,
    cause: str | None,
    right: bool | None,
    action: Verdict | None,
    on: str | None,
    by: str,
    note: str | None,
) -> None:
    """Say whether a diagnosis, and what was done, was right.

    Actions become automatic only where enough labels say that they are right: see `stenobus monitor precision`.
    """
    from pydantic import ValidationError

    from stenobus_bus.errors import first_fault

    from ..account import Account
    from ..errors import LabelRefused
    from ..labels import Said, publish
    from ..labels import label as labelled

    async def say(bus: Bus, store: Store) -> Label | None:
        account = await Account.read(store, incident_id)
        if account is None:
            return None
        said = labelled(account, Said(cause=cause, right=right, action=action, on=on, note=note), by, datetime.now(UTC))
        await store.put_label(said)
        await publish(bus, said)
        return said

    try:
        said = on_bus(say)
    except LabelRefused as error:
        raise click.UsageError(str(error)) from error
    except ValidationError as error:
        raise click.UsageError(f"{first_fault(error)}.") from error
    if said is None:
        raise click.ClickException(f"There is no incident {incident_id}; see `stenobus monitor incidents --all`.")
    click.echo(f"{incident_id}: {said.sentence}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def precision(as_json: bool) -> None:
    """Show how often diagnoses and actions were right.

    By what people said of them, in labels.

    The lower bound is that of the 95 % interval: the precision is at least that high.
    """
    from rich.console import Console
    from rich.table import Table

    from stenobus_core.cli.running import print_json

    from ..precision import tallies, trusted
    from ..settings import Settings

    settings = Settings.load("monitor")
    found = tallies(asked(lambda store: store.labels()))
    rows = [
        {"incident": kind, "cause": cause, "right": tally.right, "wrong": tally.wrong, "lower": round(tally.lower, 3)}
        for (kind, cause), tally in sorted(found.causes.items())
    ]
    rows += [
        {
            "incident": kind,
            "action": action,
            "right": tally.right,
            "wrong": tally.wrong,
            "unsafe": tally.unsafe,
            "lower": round(tally.lower, 3),
            "trusted": trusted(action, kind, tally, settings.trust, settings.trust_labels),
        }
        for (action, kind), tally in sorted(found.actions.items())
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("Nothing is labelled yet; `stenobus monitor label INCIDENT --right` does it.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Incident", "Cause or action", "Right", "Wrong", "Lower bound", "May be automatic"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        wrong = f"{row['wrong']} ({row['unsafe']} unsafe)" if row.get("unsafe") else str(row["wrong"])
        what = str(row["cause"]) if "cause" in row else f"action {row['action']}"
        may = "" if "cause" in row else "yes" if row["trusted"] else "no"
        table.add_row(str(row["incident"]), what, str(row["right"]), wrong, f"{row['lower']:.2f}", may)
    Console(soft_wrap=False).print(table)
