"""``stenobus ingest``."""

from __future__ import annotations

import click


@click.group()
def ingest() -> None:
    """Documents: tell of new objects, follow stores, take uploads."""


@ingest.command()
@click.argument("notification", metavar="JSON|@FILE|-")
@click.option("--id", "event_id", help="Event id; publishing the same id twice publishes once.")
def notify(notification: str, event_id: str | None) -> None:
    """Publish a store's notification: of S3, EventBridge, SQS, SNS, or of a NATS object store.

    \b
    stenobus ingest notify @event.json
    aws sqs receive-message --queue-url … | stenobus ingest notify -
    """
    from stenobus_core.cli.publish import read_payload
    from stenobus_core.cli.running import run, services, settings

    from .followers import publish
    from .notifications import NotUnderstood, changes, decoded

    try:
        said = decoded(read_payload(notification))
        count = len(changes(said))
    except NotUnderstood as error:
        raise click.ClickException(str(error)) from error
    found = settings()

    async def send() -> None:
        async with services(found) as (session, _):
            await publish(session.bus, said, event_id)

    run(send())
    click.echo(f"Told of {count} objects.")


@ingest.command()
@click.argument("bucket")
def watch(bucket: str) -> None:
    """Follow a NATS object store: what lies in BUCKET, and what is put there and removed, until Ctrl-C."""
    from stenobus_core.cli.running import run, services, settings

    from .followers import follow_nats

    found = settings(None)

    async def follow() -> None:
        async with services(found) as (session, _):
            await follow_nats(session.bus, bucket)

    run(follow())


@ingest.command()
@click.option("--queue", required=True, help="URL of the SQS queue that notifications go to.")
@click.option("--once", is_flag=True, help="End when the queue is empty.")
def poll(queue: str, once: bool) -> None:
    """Follow an SQS queue of S3 notifications, until Ctrl-C. A message is deleted when its event is stored.

    Region, endpoint and credentials are boto3's own (AWS_…).
    """
    from stenobus_core.cli.running import run, services, settings

    from .followers import follow_sqs

    found = settings(None)

    async def follow() -> int:
        async with services(found) as (session, _):
            return await follow_sqs(session.bus, queue, once=once)

    count = run(follow())
    click.echo(f"Took {count} messages.")
