"""``stenobus sources``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .catalogue import Origin
    from .settings import Settings


@click.group()
def sources() -> None:
    """What the knowledge base is kept in step with: sites, folders, buckets."""


@sources.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(as_json: bool) -> None:
    """Show the configured sources, and what is known of each."""
    from stenobus_core.cli.running import print_json, run, settings

    from .status import Status, statuses

    found, _, known = _configured()
    told: list[Status] = run(statuses(settings(), known))
    if as_json:
        print_json([status.document() for status in told])
        return
    for status in told:
        click.echo(status.line())
    if not told:
        click.echo(f"There are no sources; add [[sources.wordpress]] or [[sources.files]] to {found}.")


@sources.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Ask each source for a little, and say what is wrong. Exits with 1 when something is."""
    from dataclasses import asdict

    from stenobus_core.cli.running import print_json, run, settings

    from .status import checks

    _, _, known = _configured(names)
    told = run(checks(settings(), known))
    if as_json:
        print_json([asdict(one) for one in told])
    else:
        for one in told:
            click.echo(f"{'✓' if one.ok else '✗'} {one.name}: {one.detail}")
    if not all(one.ok for one in told):
        raise SystemExit(1)


@sources.command("run")
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@click.option("--full", "reads", flag_value="full", help="Read everything.")
@click.option("--listing", "reads", flag_value="listing", help="Read what is there, and what of it was missed.")
@click.option("--changes", "reads", flag_value="changes", default="changes", help="Read what changed (default).")
@click.option("--dry-run", is_flag=True, help="Read and check, but write and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_(names: tuple[str, ...], reads: Any, dry_run: bool, as_json: bool) -> None:
    """Read sources now, and bring their collections up to date; all of them when none is named.

    On the embedded server the work is done here; elsewhere by whoever runs the plugins there. Exits with 1 when a run
    failed.
    """
    from stenobus_core.cli.running import print_json, run, settings

    from . import running

    _, found, known = _configured(names)
    if not known:
        raise click.ClickException("There are no sources; see [[sources.wordpress]] and [[sources.files]].")
    core = settings()
    told = run(running.tried(core, found, known, reads)) if dry_run else run(running.done(core, known, reads))
    if as_json:
        print_json([end.document() for end in told])
    else:
        for end in told:
            click.echo("\n".join(end.lines()))
    if failed := [end for end in told if end.error]:
        raise click.ClickException(f"{len(failed)} of {len(told)} runs failed; {failed[0].error}")


def _configured(names: tuple[str, ...] = ()) -> tuple[str, Settings, dict[str, Origin]]:
    """Where the settings are, the settings, and the sources that are named, or all."""
    import os

    from stenobus_core.errors import SettingsError

    from .catalogue import catalogue, pick
    from .errors import Misconfigured
    from .settings import Settings

    try:
        found = Settings.load("sources")
        known = catalogue(found)
        picked = {name: pick(known, name) for name in names} if names else known
    except (SettingsError, Misconfigured) as error:
        raise click.ClickException(str(error)) from error
    return os.environ.get("STENOBUS_CONFIG", "stenobus.toml"), found, picked
