"""``stenobus publish``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from pydantic import ValidationError

from stenobus_bus import Envelope, apply
from stenobus_bus.errors import first_fault
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Event, registry

from ..discovery import discover
from ..services import topology
from ..session import connect
from ..settings import CoreSettings
from .running import print_json, run, settings


@click.command()
@click.argument("subject")
@click.argument("payload", metavar="JSON|@FILE|-")
@click.option("--run", "run_id", help="Run the event belongs to; a new one by default.")
@click.option("--id", "event_id", help="Event id; publishing the same id twice publishes once.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a stream that is full or not there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def publish(
    subject: str, payload: str, run_id: str | None, event_id: str | None, timeout: float, as_json: bool
) -> None:
    """Publish an event and wait until the server has stored it.

    \b
    stenobus publish media.uploaded '{"media": {"uri": "file:///talk.wav"}}'
    stenobus publish asr.done @event.json
    """
    found = settings()
    discover(found)  # plugins bring contracts of their own
    contract = registry.by_subject(subject)
    if contract is None:
        known = ", ".join(sorted({name for known in registry for name in known.subjects()}))
        raise click.ClickException(f"No contract has the subject {subject}; known: {known}.")
    try:
        event = contract.model_validate_json(read_payload(payload))
    except ValidationError as error:
        raise click.ClickException(f"{subject}: {first_fault(error, 'the payload')}.") from error
    envelope = Envelope.new(event, "stenobus/publish", run=run_id, id=event_id)
    if subject in contract.subjects()[:-1]:
        envelope.subject = subject  # a lane that is named wins over what the event says
    run(_publish(found, event, envelope, timeout, as_json))


async def _publish(found: CoreSettings, event: Event, envelope: Envelope, timeout: float, as_json: bool) -> None:
    async with connect(found) as session:
        specs = topology(found.bucket, found.replicas)
        if session.server is None:  # a producer's user need not see more than the stream of its events
            specs = [spec for spec in specs if spec.name == domain_stream(event.subject)]
        await apply(session.bus, specs)
        stored = await session.bus.publish(event, envelope, deadline=timeout)
    if as_json:
        print_json({"event_id": envelope.id, "run": envelope.run, **stored._asdict()})
    else:
        again = " (it was there already)" if stored.duplicate else ""
        click.echo(f"{envelope.subject}: stored as {stored.stream}/{stored.sequence}{again}, run {envelope.run}")


def read_payload(text: str) -> bytes:
    """What JSON, @FILE or - (stdin) stands for."""
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise click.ClickException(f"{text[1:]} cannot be read: {error.strerror}.") from error
    return text.encode()
