"""``stenobus up`` and ``stenobus caretaker``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
import structlog

from ..discovery import discover
from ..errors import PluginError, SettingsError
from ..host import Host
from ..plugin import Plugin
from ..session import connect
from ..settings import CoreSettings
from ..tracing import tracing
from .running import run, settings

if TYPE_CHECKING:
    from ..metrics import MetricsServer


@click.command()
@click.argument("names", metavar="[PLUGIN]...", nargs=-1)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /healthz and /readyz there.")
def up(names: tuple[str, ...], metrics_port: int | None) -> None:
    """Run plugins in the foreground until interrupted: all of them, or those named.

    `documents` means every `documents-…` plugin. One plugin per process is how production runs; any number of
    processes may run the same plugin and share its work.
    """
    _until_interrupted(f"stenobus up {' '.join(names)}".strip(), metrics_port, lambda found: _plugins(found, names))


@click.command()
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics, /healthz and /readyz there.")
def caretaker(metrics_port: int | None) -> None:
    """Run no plugin, but what has to be done beside them, in the foreground until interrupted.

    Events that the server gave up on become dead letters, the run record is copied to further run stores, and an alert
    is published when a handler's dead letters increase. Every `stenobus up` does so as well, if its user may: plugins
    under users of their own may not, and one of these beside them is what they need.
    """
    _until_interrupted("stenobus caretaker", metrics_port, lambda _: [])


def _until_interrupted(who: str, metrics_port: int | None, plugins: Callable[[CoreSettings], list[Plugin]]) -> None:
    found = settings(None, **({} if metrics_port is None else {"metrics_port": metrics_port}))
    try:
        run(_up(found, who, plugins))
    except click.Abort:
        click.echo("Stopped.", err=True)


def _plugins(found: CoreSettings, names: tuple[str, ...]) -> list[Plugin]:
    discovered = discover(found, names)
    for name, why in discovered.broken.items():
        structlog.get_logger("stenobus").error("plugin.broken", plugin=name, error=why)
    if not discovered.plugins:
        raise PluginError("There is no plugin to run; see `stenobus plugins list`.")
    return list(discovered.plugins.values())


async def _up(found: CoreSettings, who: str, which: Callable[[CoreSettings], list[Plugin]]) -> None:
    log = structlog.get_logger("stenobus")
    plugins = which(found)
    names = [plugin.name for plugin in plugins]
    async with connect(found, who) as session, tracing() as observe:
        host = Host(found, session.bus, plugins, observe=observe)
        metrics = None if found.metrics_port is None else _metrics(host, found.metrics_host, found.metrics_port)
        try:
            if metrics:  # first, so that whoever asks meanwhile hears that it is not ready yet
                await metrics.start()
            await host.start()
            log.info("up", url=session.url, embedded=session.server is not None, plugins=names)
            if session.server and found.nats_port and not session.url.endswith(f":{found.nats_port}"):
                log.warning(
                    "server.other_port",
                    message=f"port {found.nats_port} is busy; use NATS_URL={session.url} with the nats command",
                )
            await asyncio.Event().wait()
        finally:
            await host.stop()
            if metrics:
                await metrics.stop()


def _metrics(host: Host, address: str, port: int) -> MetricsServer:
    try:
        from ..metrics import MetricsServer
    except ModuleNotFoundError as error:
        raise SettingsError(
            "STENOBUS_METRICS_PORT needs prometheus_client; install it with `pip install 'stenobus-core[metrics]'`."
        ) from error
    return MetricsServer(host, address, port)
