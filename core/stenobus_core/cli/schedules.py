"""``stenobus schedules``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console

from stenobus_bus import Envelope, Occurrence, ScheduleSpec
from stenobus_bus.clock import fire
from stenobus_bus.schedules import Declaration, Known, Progress, Schedules
from stenobus_bus.timing import upcoming

from ..discovery import discover
from ..settings import CoreSettings
from ..timetable import is_off, timetable
from .running import print_json, run, services, settings

#: Occurrences shown ahead.
_AHEAD = 3


@click.group()
def schedules() -> None:
    """Events that plugins publish when it is time."""


@schedules.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(as_json: bool) -> None:
    """List schedules: when each is due next, when it fired last, and whether it is on.

    \b
    armed       the server has its alarm
    due         its time has come; a process of its plugin will publish it
    over        it was for once
    off         the settings switch it off
    changed     the server has another version; `stenobus bus apply`, or a start of the plugin, updates it
    undeclared  the server does not know it yet; as above
    orphaned    the server knows it, and its plugin is not here: it rings once more at most
    """
    entries = run(_entries(settings()))
    if as_json:
        print_json([entry.document() for entry in entries])
        return
    console = Console(highlight=False, markup=False)
    if not entries:
        console.print("There are no schedules.")
    for entry in entries:
        console.print("\n".join(entry.lines()), soft_wrap=True)


@schedules.command("run")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run_(name: str, as_json: bool) -> None:
    """Publish the event of a schedule now (NAME is PLUGIN.SCHEDULE); its times stay as they are."""
    found = settings()
    known = {spec.id: spec for spec in timetable(found, discover(found).plugins.values())}
    if name not in known:
        there = f"known: {', '.join(sorted(known))}" if known else "no installed plugin declares one"
        raise click.ClickException(f"There is no schedule {name}; {there}.")
    envelope = run(_fire(found, known[name]))
    if as_json:
        print_json({"schedule": name, "event_id": envelope.id, "subject": envelope.subject, "run": envelope.run})
    else:
        click.echo(f"{name}: published {envelope.subject}, run {envelope.run}")


@schedules.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove an orphaned schedule (NAME is PLUGIN.SCHEDULE) from the server."""
    found = settings()
    if name in {spec.id for spec in timetable(found, discover(found).plugins.values())}:
        plugin, _, _ = name.partition(".")
        raise click.ClickException(
            f"The plugin {plugin} is here and would declare it again; set STENOBUS_SCHEDULES_OFF instead."
        )
    run(_remove(found, name))
    click.echo(f"{name}: removed.")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One schedule, as it is here and at the server."""

    id: str
    state: str
    timing: str
    timezone: str
    subject: str
    catch_up: str
    next: list[Occurrence]
    fired: datetime | None
    run: str | None

    def document(self) -> dict[str, Any]:
        plugin, _, _ = self.id.partition(".")
        return {
            "name": self.id,
            "plugin": plugin,
            "state": self.state,
            "timing": self.timing,
            "timezone": self.timezone,
            "subject": self.subject,
            "catch_up": self.catch_up,
            "next": [{"local": self._local(due.at), "utc": _utc(due.at), "occurrence": due.key} for due in self.next],
            "last": self.fired and {"local": self._local(self.fired), "utc": _utc(self.fired), "run": self.run},
        }

    def lines(self) -> list[str]:
        title = f"{self.id:<32} {self.state:<10} {self.timing} ({self.timezone}) → {self.subject}"
        ahead = [f"    next {self._local(due.at)}  {_utc(due.at)}" for due in self.next]
        last = [f"    last {self._local(self.fired)}  {_utc(self.fired)}  run {self.run}"] if self.fired else []
        return [title, *ahead, *last]

    def _local(self, at: datetime) -> str:
        return at.astimezone(ZoneInfo(self.timezone)).isoformat(timespec="seconds")


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def _entries(found: CoreSettings) -> list[_Entry]:
    discovered = discover(found)
    async with services(found) as (session, _):
        known = await Schedules.open(session.bus)
        here = {spec.id: spec for spec in timetable(found, discovered.plugins.values())}
        entries = [_installed(found, spec, await known.look(id)) for id, spec in here.items()]
        for id in await known.ids():
            if id not in here and (look := await known.look(id)).declared is not None:
                entries.append(_orphaned(id, look.declared, look.progress))
        return sorted(entries, key=lambda entry: entry.id)


def _installed(found: CoreSettings, spec: ScheduleSpec, known: Known) -> _Entry:
    off, wanted = is_off(found, spec), spec.declaration(known.now)
    return _Entry(
        id=spec.id,
        state="off" if off else _state(spec, known),
        timing=wanted.timing,
        timezone=wanted.timezone,
        subject=wanted.subject,
        catch_up=wanted.catch_up,
        next=[] if off else list(islice(upcoming(spec.timing, known.now), _AHEAD)),
        fired=known.progress.fired,
        run=known.progress.run,
    )


def _state(spec: ScheduleSpec, known: Known) -> str:
    if known.declared is None:
        return "undeclared"
    if known.declared.differences(spec.declaration(known.now)):
        return "changed"
    following = known.following(spec.timing)
    if following is None:
        return "over"
    return "due" if following.at <= known.now else "armed"


def _orphaned(id: str, declared: Declaration, progress: Progress) -> _Entry:
    return _Entry(
        id=id,
        state="orphaned",
        timing=declared.timing,
        timezone=declared.timezone,
        subject=declared.subject,
        catch_up=declared.catch_up,
        next=[],
        fired=progress.fired,
        run=progress.run,
    )


async def _fire(found: CoreSettings, spec: ScheduleSpec) -> Envelope:
    now = datetime.now(UTC).replace(microsecond=0)
    occurrence = Occurrence(now, now.astimezone(spec.timing.zone).replace(tzinfo=None))
    async with services(found) as (session, _):
        return await fire(session.bus, spec, occurrence, f"{occurrence.key}-by-hand-{uuid.uuid4().hex[:6]}")


async def _remove(found: CoreSettings, name: str) -> None:
    async with services(found) as (session, _):
        known = await Schedules.open(session.bus)
        if name not in await known.ids():
            raise click.ClickException(
                f"The server knows no schedule {name}; `stenobus schedules list` shows what there is."
            )
        await known.forget(name)
