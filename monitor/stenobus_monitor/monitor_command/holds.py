"""``stenobus monitor hold``, ``unhold`` and ``holds``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .asking import asked, asks, ending, tell, to_come

if TYPE_CHECKING:
    from ..actions.budget import Book
    from ..actions.holds import Hold
    from ..store import Store


@click.command()
@click.argument("component")
@click.argument("until", metavar="DURATION", callback=to_come)
@asks
def hold(component: str, until: datetime, by: str, reason: str) -> None:
    """Keep the monitor's hands off a COMPONENT.

    DURATION is such as 90s, 15m, 2h or 7d, or an ISO 8601 time until which it lasts.

    A COMPONENT is as incidents name it, such as container:kb, or the name of a container; wildcards are allowed. What
    is being done already goes on.
    """
    from stenobus_bus.envelope import derived_id

    from ..actions.holds import Hold

    component = component if ":" in component else f"container:{component}"
    wanted = Hold(id=derived_id("hold", component)[:12], component=component, until=until, by=by, reason=reason)
    asked(lambda store: store.put_hold(wanted))
    tell(f"Hold {wanted.id} on {component}", until, f"unhold {wanted.id}")


unhold = ending(
    "unhold",
    lambda store, found: store.remove_hold(found),
    "End a hold, also one that a stop by hand has set.",
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def holds(as_json: bool) -> None:
    """List the holds in force, and containers that are given up."""
    from stenobus_core.cli.running import print_json

    from ..actions.budget import Budget

    async def ask(store: Store) -> tuple[list[Hold], Book]:
        return await store.holds(), await Budget(store.cell("budget")).book()

    now = datetime.now(UTC)
    found, book = asked(ask)
    found = [each for each in found if each.until is None or each.until > now]
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        click.echo(f"{each.id}  {each.said}")
    for name, since in book.open.items():
        click.echo(f"{name}: restarts do not help, given up since {since.astimezone():%m-%d %H:%M:%S}")
    if not found and not book.open:
        click.echo("Nothing is held.")
