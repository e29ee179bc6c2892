"""``stenobus pause`` and ``stenobus resume``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from stenobus_bus import Bus
from stenobus_bus import pause as bus_pause
from stenobus_bus.pause import Place

from ..session import connect
from ..settings import CoreSettings
from .running import print_json, run, settings
from .times import ahead


@click.command()
@click.argument("handler")
@click.argument("duration", default="1h")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def pause(handler: str, duration: str, as_json: bool) -> None:
    """Hold HANDLER's events back for DURATION (90s, 15m, 2h, 7d; an hour by default) or until an ISO 8601 time.

    It holds for all processes and through their restarts. What is in work is finished; what comes meanwhile waits in
    the stream, and is worked on when the time is over or after `stenobus resume HANDLER`.
    """
    until = ahead(duration)
    if until <= datetime.now(UTC):
        raise click.BadParameter(f"{duration!r} is over already; name a time to come.", param_hint="DURATION")
    run(_pause(settings(), handler, until, as_json))


@click.command()
@click.argument("handler")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def resume(handler: str, as_json: bool) -> None:
    """Deliver HANDLER's events again at once."""
    run(_resume(settings(), handler, as_json))


async def _pause(found: CoreSettings, handler: str, until: datetime, as_json: bool) -> None:
    async with connect(found) as session:
        places = await _places(session.bus, handler)
        for place in places:
            await bus_pause.pause(session.bus, place, until)
    if as_json:
        print_json({"handler": handler, "paused_until": until.isoformat(), "pending": _pending(places)})
    else:
        click.echo(
            f"{handler} is paused until {until.astimezone():%Y-%m-%d %H:%M:%S %Z}, {_pending(places)} waiting; "
            f"`stenobus resume {handler}` ends it."
        )


async def _resume(found: CoreSettings, handler: str, as_json: bool) -> None:
    async with connect(found) as session:
        places = await _places(session.bus, handler)
        for place in places:
            await bus_pause.resume(session.bus, place)
    paused = any(place.paused_until for place in places)
    if as_json:
        print_json({"handler": handler, "was_paused": paused, "pending": _pending(places)})
    else:
        click.echo(f"{handler} {'goes on' if paused else 'was not paused'}, {_pending(places)} waiting.")


async def _places(bus: Bus, handler: str) -> list[Place]:
    """The consumers of a handler, which need not be installed here: the server knows them."""
    places = await bus_pause.places(bus)
    if found := [place for place in places if place.handler == handler]:
        return found
    known = ", ".join(sorted({place.handler for place in places})) or "none yet; `stenobus up` declares them"
    raise click.ClickException(f"The server has no handler {handler}; known: {known}.")


def _pending(places: list[Place]) -> int:
    return sum(place.pending for place in places)
