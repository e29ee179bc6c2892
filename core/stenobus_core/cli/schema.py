"""``stenobus schema``."""

from __future__ import annotations

from pathlib import Path

import click

from stenobus_contracts import check as find_breaking
from stenobus_contracts import export as write_schemas
from stenobus_contracts import registry

from ..discovery import discover
from .running import settings


@click.group()
def schema() -> None:
    """JSON Schemas of every event."""


@schema.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def export(folder: Path) -> None:
    """Write one JSON Schema per contract into FOLDER."""
    discover(settings())
    try:
        files = write_schemas(registry, folder)
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written: {error.strerror}.") from error
    click.echo(f"{len(files)} schemas in {folder}")


@schema.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def check(folder: Path) -> None:
    """Compare today's contracts with the schemas in FOLDER; exits with 1 on a breaking change."""
    discover(settings())
    problems = find_breaking(registry, folder)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo("No breaking change.")
