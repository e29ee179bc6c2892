"""``stenobus kb restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stenobus_contracts import KbSync
    from stenobus_core import CoreSettings

    from .removed import Removed


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--run", "number", type=int, help="Bring back everything that this sync removed.")
@click.option("--collection", metavar="NAME", help="Look at this collection only.")
@click.option(
    "--days", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="How far to look back."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def restore(ids: tuple[str, ...], number: int | None, collection: str | None, days: float, as_json: bool) -> None:
    """List what was removed, or bring documents back by id or run, in every index.

    \b
    stenobus kb restore                      # what was removed
    stenobus kb restore --run 17             # all of it that sync 17 removed
    stenobus kb restore event-4711 event-12  # these
    """
    from stenobus_core.cli.running import run
    from stenobus_core.cli.running import settings as core_settings
    from stenobus_core.errors import SettingsError

    from .errors import KbError
    from .removed import orders, removed
    from .settings import Settings

    try:
        found = removed(Settings.load("kb").index_path, days, collection)
    except (KbError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if not ids and number is None:
        _show(found, as_json=as_json)
        return
    wanted = [each for each in found if each.run == number or each.document.id in ids]
    if unknown := sorted(set(ids) - {each.document.id for each in wanted}):
        raise click.ClickException(f"{unknown[0]} is not among what was removed: `stenobus kb restore` lists it.")
    if not wanted:
        raise click.ClickException(
            f"No document that sync {number} removed is missing: `stenobus kb restore` lists them."
        )
    run(_publish(core_settings(), orders(wanted)))
    if as_json:
        _show(wanted, as_json=True)
    else:
        click.echo(f"{len(wanted)} documents are brought back: kb.sync is published, every index takes them up.")


async def _publish(found: CoreSettings, events: Sequence[KbSync]) -> None:
    from stenobus_bus import Envelope, apply
    from stenobus_bus.topology import domain_stream
    from stenobus_core.services import topology
    from stenobus_core.session import connect

    async with connect(found) as session:
        specs = topology(found.bucket, found.replicas)
        if session.server is None:  # whoever restores need not see more than the stream of its events
            specs = [spec for spec in specs if spec.name == domain_stream(events[0].subject)]
        await apply(session.bus, specs)
        for event in events:
            await session.bus.publish(event, Envelope.new(event, "stenobus/kb-restore"))


def _show(found: Sequence[Removed], *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps({"removed": [_fields(each) for each in found]}, ensure_ascii=False, indent=2))
        return
    if not found:
        click.echo("Nothing was removed.")
        return
    from rich.console import Console
    from rich.table import Table

    from .text import clean

    table = Table("run", "removed", "collection", "source", "id", "title", box=None, header_style="bold")
    for each in found:
        moment = f"{each.at.astimezone():%Y-%m-%d %H:%M}"
        texts = map(clean, (each.source or "", each.document.id, each.document.title))
        table.add_row(str(each.run), moment, each.collection, *texts)
    Console(highlight=False, markup=False).print(table)


def _fields(each: Removed) -> dict[str, object]:
    return {
        "run": each.run,
        "at": each.at.isoformat(),
        "collection": each.collection,
        "source": each.source,
        "document": each.document.model_dump(mode="json", exclude_none=True),
    }
