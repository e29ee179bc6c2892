"""``stenobus ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pydantic import JsonValue

#: What people write sizes and times with.
_BYTES = {"": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group()
def ingest() -> None:
    """Documents: tell of new objects, follow stores, take uploads."""


@ingest.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--collection", help="Collection the documents go into.")
@click.option("--principal", "principals", multiple=True, help="Who may find them; may be given several times.")
def add(files: tuple[Path, ...], collection: str | None, principals: tuple[str, ...]) -> None:
    """Upload documents: store FILES and publish them. Each is known by its path, so its next version replaces it."""
    from stenobus_core.cli.running import run, services, settings

    from .followers import upload

    told: dict[str, JsonValue] = {}
    if collection:
        told["collection"] = collection
    if principals:
        told["principals"] = list(principals)
    found = settings()

    async def send() -> None:
        async with services(found) as (session, opened):
            for path in files:
                click.echo(f"{path}: run {await upload(session.bus, opened.blobs, path, told)}")

    run(send())


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
    from stenobus_core.cli.running import run, settings

    from .followers import publish, telling
    from .notifications import NotUnderstood, changes, decoded

    try:
        said = decoded(read_payload(notification))
        count = len(changes(said))
    except NotUnderstood as error:
        raise click.ClickException(str(error)) from error
    found = settings()

    async def send() -> None:
        async with telling(found) as bus:
            await publish(bus, said, event_id)

    run(send())
    click.echo(f"Told of {count} objects.")


@ingest.command()
@click.argument("bucket")
def watch(bucket: str) -> None:
    """Follow a NATS object store: what lies in BUCKET, and what is put there and removed, until Ctrl-C."""
    from stenobus_core.cli.running import run, settings

    from .followers import follow_nats, telling

    found = settings(None)

    async def follow() -> None:
        async with telling(found) as bus:
            await follow_nats(bus, bucket)

    run(follow())


@ingest.command()
@click.option("--queue", required=True, help="URL of the SQS queue that notifications go to.")
@click.option("--once", is_flag=True, help="End when the queue is empty.")
def poll(queue: str, once: bool) -> None:
    """Follow an SQS queue of S3 notifications, until Ctrl-C. A message is deleted when its event is stored.

    Region, endpoint and credentials are boto3's own (AWS_…).
    """
    from stenobus_core.cli.running import run, settings

    from .followers import follow_sqs, telling

    found = settings(None)

    async def follow() -> int:
        async with telling(found) as bus:
            return await follow_sqs(bus, queue, once=once)

    count = run(follow())
    click.echo(f"Took {count} messages.")


@ingest.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 picks one.")
@click.option("--at-once", type=click.IntRange(1), default=16, show_default=True, help="Uploads in hand.")
@click.option("--timeout", type=click.FloatRange(1), default=600, show_default=True, help="Seconds per upload.")
def serve(host: str, port: int, at_once: int, timeout: float) -> None:
    """Take uploads at addresses that `stenobus ingest url` signed, until Ctrl-C.

    Put a proxy with TLS in front of it: who reads an address may use it.
    """
    from stenobus_core.cli.running import run, services, settings

    found = settings(None)
    keys = _keys()
    try:
        from .uploads import application, listening
    except ImportError as error:
        raise click.ClickException("This needs an extra: pip install 'stenobus-ingest[http]'.") from error

    async def listen() -> None:
        async with services(found) as (session, opened):
            app = application(session.bus, opened.blobs, keys, at_once=at_once, seconds=timeout)
            click.echo(f"Taking uploads at http://{host}:{port}/v1/uploads/…", err=True)
            await listening(app, host, port)

    run(listen())
    click.echo("Stopped.", err=True)


@ingest.command()
@click.option("--type", "content_type", required=True, help="Media type of the file, such as application/pdf.")
@click.option("--max-bytes", "most", default="64MiB", show_default=True, help="Largest file: 500000, 20MB, 1GiB.")
@click.option("--expires", default="15m", show_default=True, help="How long it may be used: 90, 15m, 2h, 1d.")
@click.option("--name", help="What the file is called; its end tells the format.")
@click.option("--kind", type=click.Choice(["recording", "transcript", "document", "image"]), help="What it is.")
@click.option("--collection", help="Collection the document goes into.")
@click.option("--document-id", help="Its id there; the next version has the same.")
@click.option("--principal", "principals", multiple=True, help="Who may find it; may be given several times.")
@click.option("--base", default="http://127.0.0.1:8090", show_default=True, help="Where `ingest serve` is reached.")
@click.option("--s3", "bucket", help="An address of this bucket of S3 instead.")
@click.option("--prefix", default="uploads/", show_default=True, help="Folder in that bucket.")
@click.option("--bytes", "exact", help="Exact size of the file: S3 then takes a PUT, instead of a form.")
def url(
    content_type: str,
    most: str,
    expires: str,
    name: str | None,
    kind: str | None,
    collection: str | None,
    document_id: str | None,
    principals: tuple[str, ...],
    base: str,
    bucket: str | None,
    prefix: str,
    exact: str | None,
) -> None:
    """Print an address that takes one file, as one JSON document. Who has it may use it."""
    import json
    import time

    from stenobus_core import PermanentError

    from . import grants, presigned

    limit, seconds = _number(most, _BYTES, "--max-bytes"), _number(expires, _SECONDS, "--expires")
    try:
        if bucket:
            client, key = presigned.client(), presigned.new_key(prefix, name)
            if not 0 < seconds <= presigned.LONGEST:
                raise ValueError(f"S3 lets an address last from 1 to {presigned.LONGEST} seconds.")
            if exact:
                size = _number(exact, _BYTES, "--bytes")
                made = presigned.put(client, bucket, key, content_type, size, seconds)
            else:
                made = presigned.post(client, bucket, key, content_type, limit, seconds)
        else:
            metadata = {
                "collection": collection,
                "document_id": document_id,
                "principals": list(principals) or None,
            }
            told = {key: value for key, value in metadata.items() if value is not None}
            permission = grants.grant(content_type, limit, seconds, time.time(), name, kind, told)  # type: ignore[arg-type]
            token = grants.signed(permission, _keys()[0])
            made = {
                "method": "PUT",
                "url": f"{base.rstrip('/')}/v1/uploads/{token}",
                "headers": {"Content-Type": permission.content_type},
                "expires": permission.expires,
            }
    except (ValueError, PermanentError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(made, indent=2))


def _keys() -> tuple[str, ...]:
    from stenobus_core import SettingsError

    from .settings import Settings

    try:
        keys = Settings.load("ingest").upload_keys
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    if not keys:
        raise click.ClickException("No key to sign with: set STENOBUS_INGEST_UPLOAD_KEY, or upload_key_file of ingest.")
    return keys


def _number(text: str, units: dict[str, int], option: str) -> int:
    import re

    match = re.fullmatch(r"(\d{1,12})\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise click.BadParameter(f"{text} is no number with one of {known} behind it.", param_hint=option)
    return int(match[1]) * units[match[2]]
