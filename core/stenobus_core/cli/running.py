"""What the commands share: run a coroutine to its end, turn errors into one sentence."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click

from stenobus_bus import BusError
from stenobus_contracts import Event

from ..errors import StenobusError
from ..logs import configure
from ..services import Services
from ..session import Session, connect
from ..settings import CoreSettings

T = TypeVar("T")


def settings(level: str | None = "warning", **overrides: Any) -> CoreSettings:
    """The settings, with logging set up.

    Args:
        level: log level of a command that talks to a person; None for the configured one.
    """
    try:
        found = CoreSettings.load("core", **overrides)
    except StenobusError as error:
        raise click.ClickException(str(error)) from error
    configure(found, level)
    return found


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command. SIGINT and SIGTERM cancel it, so that it cleans up; known errors become one sentence.

    Raises:
        click.ClickException: the command failed.
        click.Abort: it was interrupted.
    """

    async def supervised() -> T:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError as stop:
        raise click.Abort from stop
    except (StenobusError, BusError) as error:
        raise click.ClickException(str(error)) from error


@asynccontextmanager
async def services(found: CoreSettings) -> AsyncIterator[tuple[Session, Services]]:
    """The bus with its buckets, declared when they are not there yet."""
    from stenobus_bus import apply

    from ..services import topology

    async with connect(found) as session:
        await apply(session.bus, topology(found.bucket, found.replicas))
        opened = await Services.open(found, session.bus)
        try:
            yield session, opened
        finally:
            await opened.close()


@asynccontextmanager
async def answering(session: Session, contract: type[Event]) -> AsyncIterator[None]:
    """On the embedded server this process answers, by the installed plugins that handle a contract.

    On another server those do that run there.
    """
    from ..discovery import discover
    from ..host import Host

    if session.server is None:
        yield
        return
    installed = discover(session.settings).plugins.values()
    able = [plugin for plugin in installed if any(handler.contract is contract for handler in plugin.handlers)]
    if not able:
        raise StenobusError(
            f"No installed plugin answers {contract.subject}; `stenobus plugins list` shows those there are."
        )
    host = Host(session.settings, session.bus, able)
    await host.start()
    try:
        yield
    finally:
        await host.stop()


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))
