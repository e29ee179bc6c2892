"""How a command asks the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stenobus_bus import Bus

    from ..store import Store

T = TypeVar("T")


def asked(ask: Callable[[Store], Awaitable[T]]) -> T:
    """What the store answers."""
    return on_bus(lambda _, store: ask(store))


def on_bus(work: Callable[[Bus, Store], Awaitable[T]]) -> T:
    """What comes of work with the bus and the store."""
    from stenobus_core.cli.running import run, settings
    from stenobus_core.session import connect

    from ..store import Store

    async def main() -> T:
        async with connect(settings()) as session:
            return await work(session.bus, await Store.open(session.bus))

    return run(main())
