"""How a command asks the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..store import Store

T = TypeVar("T")


def asked(ask: Callable[[Store], Awaitable[T]]) -> T:
    """What the store answers."""
    from stenobus_core.cli.running import run, settings
    from stenobus_core.session import connect

    from ..store import Store

    async def main() -> T:
        async with connect(settings()) as session:
            return await ask(await Store.open(session.bus))

    return run(main())
