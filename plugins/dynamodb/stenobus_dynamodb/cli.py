"""``stenobus dynamodb``."""

from __future__ import annotations

import json

import click


@click.group()
def dynamodb() -> None:
    """Make or show the table of the run record."""


@dynamodb.command()
@click.option("--table", help="Its name; TRACKING_TABLE by default.")
def create(table: str | None) -> None:
    """Make the table, with its index and its time to live; harmless when it is there."""
    import asyncio

    from stenobus_core import PermanentError, RetryableError, SettingsError

    from .settings import Settings
    from .store import DynamoStore

    try:
        settings = Settings.load("dynamodb", **({"table": table} if table else {}))
        if settings.table is None:
            raise click.UsageError("Name the table by --table or TRACKING_TABLE.")
        new = asyncio.run(DynamoStore(settings, settings.table).create())
    except (PermanentError, RetryableError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The table {settings.table} {'is made' if new else 'was there already'}.")


@dynamodb.command()
@click.option("--table", default="stenobus-runs", show_default=True, help="Its name.")
def schema(table: str) -> None:
    """Print what `aws dynamodb create-table --cli-input-json` takes; the time to live is on `expires`."""
    from .schema import table as described

    click.echo(json.dumps(described(table), indent=2))
