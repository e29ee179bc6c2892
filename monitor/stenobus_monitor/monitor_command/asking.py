"""How a command asks the store, and what people ask for until some time has in common."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stenobus_bus import Bus

    from ..store import Store

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


def asked(ask: Callable[[Store], Awaitable[T]]) -> T:
    """What the store answers."""
    return on_bus(lambda _, store: ask(store))


def on_bus(work: Callable[[Bus, Store], Awaitable[T]]) -> T:
    """What comes of work with the bus and the store."""
    from nats.js.errors import BucketNotFoundError

    from stenobus_bus.errors import ServerUnavailable
    from stenobus_core.cli.running import run, settings
    from stenobus_core.session import connect

    from ..store import Store

    async def main() -> T:
        async with connect(settings()) as session:
            return await work(session.bus, await _opened(session.bus))

    async def _opened(bus: Bus) -> Store:
        try:
            return await Store.open(bus)
        except ServerUnavailable as error:
            if not isinstance(error.__cause__, BucketNotFoundError):
                raise
            raise click.ClickException(
                "The monitor has never run here: `STENOBUS_MONITOR_ON=true stenobus up monitor` turns it on; on a "
                "server with users, `STENOBUS_MONITOR_ON=true stenobus bus apply` comes first."
            ) from error

    return run(main())


def asks(function: F) -> F:
    """The options ``--by`` and ``--reason`` of what somebody asks for."""
    by = click.option("--by", default=getpass.getuser, show_default="you", help="Who asks for it.")
    return by(click.option("--reason", default="", help="Why.")(function))


def to_come(context: click.Context, parameter: click.Parameter, value: str) -> datetime:
    """The time that a duration, or a time, is meant by. Raises BadParameter for one that is over."""
    from stenobus_core.cli.times import ahead

    until = ahead(value)
    if until <= datetime.now(UTC):
        raise click.BadParameter(
            f"{value!r} is over already; name a time to come.", param_hint=parameter.make_metavar(context)
        )
    return until


def tell(what: str, until: datetime, end: str) -> None:
    """What is asked for now, until when, and how it ends before."""
    click.echo(f"{what} until {until.astimezone():%Y-%m-%d %H:%M:%S %Z}; `stenobus monitor {end}` ends it.")


def ending(name: str, remove: Callable[[Store, str], Awaitable[bool]], help: str) -> click.Command:
    """A command that ends what is asked for, by its id."""
    noun = name.removeprefix("un")

    @click.command(name, help=help)
    @click.argument("found", metavar=noun.upper())
    def end(found: str) -> None:
        if not asked(lambda store: remove(store, found)):
            raise click.ClickException(f"There is no {noun} {found}; see `stenobus monitor {noun}s`.")
        click.echo(f"{noun.capitalize()} {found} is over.")

    return end
