"""``stenobus replay``."""

from __future__ import annotations

from datetime import datetime

import click
from rich.console import Console

from stenobus_bus.history import Remembered
from stenobus_bus.history import events as stored
from stenobus_bus.history import replay as replay_events

from ..discovery import discover
from ..plugin import Handler
from ..settings import CoreSettings
from .running import print_json, run, services, settings
from .times import ago


@click.command()
@click.argument("handler")
@click.option("--since", help="Events stored since: 90s, 15m, 2h, 7d, or an ISO 8601 time.")
@click.option("--from-seq", type=click.IntRange(1), help="Events from this stream sequence on.")
@click.option("--run", "run_id", help="Events of this run.")
@click.option("--dry-run", is_flag=True, help="Say what would be replayed, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(
    handler: str, since: str | None, from_seq: int | None, run_id: str | None, dry_run: bool, as_json: bool
) -> None:
    """Hand past events to HANDLER again.

    Other handlers of the same subject leave them alone; the handlers behind HANDLER work on its new results. Stages
    whose inputs did not change answer from the cache.
    """
    if not (since or from_seq or run_id):
        raise click.UsageError("Say which events: --since, --from-seq or --run.")
    found = settings()
    handlers = {known.name: known for plugin in discover(found).plugins.values() for known in plugin.handlers}
    if handler not in handlers:
        raise click.ClickException(f"No handler is named {handler}; known: {', '.join(sorted(handlers))}.")
    begin = ago(since) if since else None
    run(_replay(found, handlers[handler], begin, from_seq or 1, run_id, dry_run, as_json))


async def _replay(
    found: CoreSettings,
    handler: Handler,
    since: datetime | None,
    from_seq: int,
    run_id: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    subject = handler.contract.subject
    async with services(found) as (session, _):
        events = [
            event
            async for event in stored(session.bus, handler.contract, from_sequence=from_seq, since=since, run=run_id)
        ]
        events = _originals(events)
        replay_id = None if dry_run or not events else await replay_events(session.bus, handler.name, events)
    if as_json:
        rows = [
            {"stream": e.stream, "sequence": e.sequence, "time": e.time, "run": e.run, "id": e.event_id} for e in events
        ]
        print_json({"handler": handler.name, "replay": replay_id, "dry_run": dry_run, "events": rows})
        return
    console = Console(highlight=False, markup=False)
    for event in events:
        console.print(
            f"{event.stream}/{event.sequence}  {event.time:%Y-%m-%d %H:%M:%S}  run {event.run}", soft_wrap=True
        )
    what = f"{len(events)} event{'' if len(events) == 1 else 's'} of {subject}"
    if dry_run:
        console.print(f"{what} would be handed to {handler.name} again.")
    elif replay_id:
        console.print(f"{what} handed to {handler.name} again, replay {replay_id}.")
    else:
        console.print(f"No event of {subject} matches.")


def _originals(events: list[Remembered]) -> list[Remembered]:
    """Each event once: an earlier replay stored it again under the same source and id."""
    by_id = {(event.attributes.get("source"), event.event_id): event for event in reversed(events)}
    return list(by_id.values())[::-1]
