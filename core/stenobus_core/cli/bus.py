"""``stenobus bus``."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path

import click

from stenobus_bus import BusError, Change, advisories
from stenobus_bus import apply as apply_specs
from stenobus_bus import plan as plan_specs
from stenobus_bus.topology import Spec
from stenobus_contracts.event import SUBJECT

from .. import mirror
from ..discovery import discover
from ..errors import StenobusError
from ..host import Host, needs
from ..run_stores import copies
from ..session import connect
from ..settings import CoreSettings
from .running import print_json, run, settings


@click.group()
def bus() -> None:
    """Streams, consumers, buckets and schedules as code."""


@bus.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plan(as_json: bool) -> None:
    """Show what `apply` would change; exits with 2 when there is something."""
    found = settings()
    changes = run(_plan(found))
    _show(changes, as_json, "to change")
    raise SystemExit(2 if any(change.action != "none" for change in changes) else 0)


@bus.command("apply")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def apply_(as_json: bool) -> None:
    """Create what is missing and update what differs; settings made by others stay."""
    found = settings()
    _show(run(_apply(found)), as_json, "changed")


@bus.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the files; kept private."
)
@click.option("--plugins", "names", help="Plugins to write users for, separated by commas; all installed by default.")
@click.option(
    "--publisher",
    "publishers",
    multiple=True,
    metavar="NAME:SUBJECT,…",
    help="A producer that may publish these subjects and do nothing else; may be repeated.",
)
@click.option("--rotate", multiple=True, metavar="NAME", help="Give a user a new key; may be repeated.")
@click.option("--remove", multiple=True, metavar="NAME", help="Let a user in no longer; may be repeated.")
@click.option(
    "--metrics", is_flag=True, help="Let plugins read the streams they listen to, for the oldest event's age."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def users(
    out: Path,
    names: str | None,
    publishers: tuple[str, ...],
    rotate: tuple[str, ...],
    remove: tuple[str, ...],
    metrics: bool,
    as_json: bool,
) -> None:
    """Write users for a nats-server: one for each plugin, with the rights that its declarations call for.

    \b
    users.conf             what each user may do, for `include` in the server's configuration; holds no secret
    nats-server.conf       a whole configuration to begin with, written once
    credentials/NAME.nk    the secret of each user, for STENOBUS_NATS_CREDS
    Users beside the plugins: admin (provisions), operator (looks after things), caretaker (`stenobus caretaker`),
    all-in-one (all but admin).
    Run it again after every change of plugins: known users keep their keys. Then let the server read it:
    `nats-server --signal reload`.
    """
    found = settings()
    try:
        _users(found, out, names, publishers, rotate, remove, metrics, as_json)
    except (StenobusError, BusError) as error:
        raise click.ClickException(str(error)) from error


def _users(
    found: CoreSettings,
    out: Path,
    names: str | None,
    publishers: tuple[str, ...],
    rotate: tuple[str, ...],
    remove: tuple[str, ...],
    metrics: bool,
    as_json: bool,
) -> None:
    from .. import access
    from ..users import Users

    plugins = list(discover(found, names.split(",") if names else ()).plugins.values())
    known = Users.open(out)
    for plugin in plugins:
        specs = needs(found, [plugin])
        known.add(plugin.name, "plugin", access.plugin_permissions(plugin, specs, found.bucket, metrics=metrics))
        for name, client in plugin.clients.items():
            known.add(name, "client", access.client_permissions(client, found.bucket))
    for publisher in publishers:
        name, _, subjects = publisher.partition(":")
        if not all(SUBJECT.fullmatch(subject) for subject in subjects.split(",")):
            raise click.UsageError(f"--publisher {publisher}: write NAME:SUBJECT, or NAME:SUBJECT,SUBJECT.")
        known.add(name, "publisher", access.publisher_permissions(subjects.split(",")))
    known.remove(remove)
    known.add("admin", "admin", access.ADMIN)
    operator = reduce(or_, map(access.bucket_permissions, plugins), access.operator_permissions(found.bucket))
    known.add("operator", "operator", operator)
    plugin_rights = [user.permissions for user in known if user.role == "plugin"]
    mirrors = access.mirror_permissions(copies(found))
    caretaker = access.caretaker_permissions() | mirrors
    known.add("caretaker", "caretaker", caretaker)
    everything = reduce(or_, plugin_rights, operator | caretaker)
    known.add("all-in-one", "all-in-one", everything)
    known.rotate(rotate)
    known.write()
    if as_json:
        print_json(
            {
                "config": str(known.folder / "users.conf"),
                "users": [
                    {
                        "name": user.name,
                        "role": user.role,
                        "nkey": user.public,
                        "credentials": str(known.credentials(user.name)),
                    }
                    for user in known
                ],
            }
        )
        return
    for user in known:
        click.echo(f"{user.name:<24} {user.role:<11} {known.credentials(user.name)}")
    click.echo(f"Include {known.folder / 'users.conf'} in the server's configuration and reload it.")


async def _plan(found: CoreSettings) -> list[Change]:
    async with connect(found) as session:
        host = Host(found, session.bus, list(discover(found).plugins.values()))
        return [*await host.plan(), *await plan_specs(session.bus, _shared(found))]


async def _apply(found: CoreSettings) -> list[Change]:
    async with connect(found) as session:
        host = Host(found, session.bus, list(discover(found).plugins.values()))
        return [*await host.declare(), *await apply_specs(session.bus, _shared(found))]


def _shared(found: CoreSettings) -> list[Spec]:
    """What belongs to no plugin, and what the user of a plugin may not even look at."""
    return [advisories.consumer(), *(mirror.consumer(name) for name in copies(found))]


def _show(changes: list[Change], as_json: bool, verb: str) -> None:
    if as_json:
        print_json([{"action": c.action, "what": c.what, "differences": c.differences} for c in changes])
        return
    for change in changes:
        if change.action != "none":
            click.echo(str(change))
    same = sum(change.action == "none" for change in changes)
    click.echo(f"{len(changes) - same} {verb}, {same} as wanted.")
