"""``… keys list|revoke`` of an HTTP API, and what its ``keys add`` has in common with others'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from .keys import Key, Keys

K = TypeVar("K", bound="Key")
F = TypeVar("F", bound=Callable[..., Any])


def keys_group(
    command: str, keys: Callable[[], Keys[K]], add: click.Command, columns: Mapping[str, Callable[[K], str]]
) -> click.Group:
    """The group ``keys``.

    Args:
        command: how people call it, such as ``stenobus kb keys``.
        keys: opens the file.
        add: the API's own command that makes a key.
        columns: what a key opens, for people: heading to text.
    """

    @click.command("list")
    def show() -> None:
        """List the keys: what they open, and until when."""
        from rich.console import Console
        from rich.table import Table

        from .serving import until

        table = Table(box=None, pad_edge=False)
        for column in ("Id", "Name", *columns, "A minute", "Made", "Expires"):
            table.add_column(column)
        for key in keys().all():
            opens = (text(key) for text in columns.values())
            made, expires = f"{key.created:%Y-%m-%d}", until(key.expires, key.expired)
            table.add_row(key.id, key.name, *opens, str(key.per_minute), made, expires)
        Console(highlight=False, markup=False).print(table)

    @click.command("revoke")
    @click.argument("key_id", metavar="ID")
    def revoke(key_id: str) -> None:
        """Take a key away, at once."""
        from .serving import revoked

        click.echo(revoked(keys(), key_id, command))

    return click.Group("keys", commands=[add, show, revoke], help="Make, list and revoke keys of the HTTP API.")


def limits(per_minute: int) -> Callable[[F], F]:
    """The options ``--per-minute``, with a default, and ``--expires``, which becomes a time."""

    def add(function: F) -> F:
        often = click.option(
            "--per-minute",
            type=click.IntRange(1, 1_000_000),
            default=per_minute,
            show_default=True,
            help="Requests a minute.",
        )
        return often(
            click.option(
                "--expires", metavar="TIME", callback=_expiry, help="Such as 12h, 90d or 52w; never when absent."
            )(function)
        )

    return add


def tell(key: str) -> None:
    """Print a new key, this once, and how it is used."""
    click.echo(key)
    click.echo("Keep it well: only its digest is stored. Send it as `Authorization: Bearer KEY`.", err=True)


def _expiry(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    from .serving import expiry

    return expiry(value)
