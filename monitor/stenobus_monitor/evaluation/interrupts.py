"""Ctrl-C and SIGTERM: whoever is told to end takes everything away first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import click

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_until_told(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, or cancel it at the first of these signals and wait until it has tidied up.

    Further ones change nothing: `timeout` and terminals send several at once.

    Raises:
        SystemExit: such a signal came, with 128 and its number, as a shell tells it.
    """
    return asyncio.run(_until_told(work))


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    heard: list[int] = []

    def stop(number: int) -> None:
        if not heard:
            click.echo("Stopping: everything that was made is removed first.", err=True)
            task.cancel()
        heard.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not heard:
            raise
        raise SystemExit(128 + heard[0]) from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
