"""``stenobus dlq``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar, get_args

import click
from rich.console import Console

from stenobus_bus import Bus, BusError, LetterRefused
from stenobus_bus.dead_letters import (
    Choice,
    Entry,
    Unreadable,
    batches,
    choose,
    find,
    groups,
    remove,
)
from stenobus_bus.dead_letters import purge as purge_letters
from stenobus_bus.history import Remembered, causes
from stenobus_bus.retries import original, validate
from stenobus_bus.retries import retry as retry_letter
from stenobus_bus.topology import domain
from stenobus_contracts import Event, Reason, registry

from ..discovery import discover
from ..settings import CoreSettings
from . import edit as edits
from . import letter as pages
from .publish import read_payload
from .running import print_json, run, services, settings
from .times import ago

C = TypeVar("C", bound=Callable[..., Any])

#: Letters in work at once.
_WIDTH = 64
#: Letters that a dry run names.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Chosen:
    """Dead letters by number, or by what they have in common."""

    numbers: tuple[int, ...]
    choice: Choice


def _word(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not value.isprintable() or set(value) & set(" .*>") or not value):
        raise click.BadParameter(f"no handler can have the name {value!r}")
    return value


def _time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    return ago(value) if value else None


def _common(command: Any) -> Any:
    """What dead letters may have in common."""
    when = "90s, 15m, 2h, 7d ago, or an ISO 8601 time"
    for option in (
        click.option("--until", callback=_time, help=f"Stored before: {when}."),
        click.option("--since", callback=_time, help=f"Stored since: {when}."),
        click.option("--run", "run_id", help="Of this run."),
        click.option("--reason", type=click.Choice(get_args(Reason)), help="Of this reason."),
        click.option("--handler", callback=_word, help="Of this handler."),
    ):
        command = option(command)
    return command


def _choosing(command: C) -> Any:
    """Give a command its ``chosen`` dead letters; nothing is chosen by saying nothing."""

    @wraps(command)
    def chosen(
        numbers: tuple[int, ...],
        everything: bool,
        handler: str | None,
        reason: Reason | None,
        run_id: str | None,
        since: datetime | None,
        until: datetime | None,
        **more: Any,
    ) -> Any:
        common = any(value is not None for value in (handler, reason, run_id, since, until))
        if numbers and (common or everything):
            raise click.UsageError("Name dead letters by number, or by what they have in common; not by both.")
        if not (numbers or common or everything):
            raise click.UsageError(
                "Name dead letters by number, --handler, --reason, --run, --since, --until or --all."
            )
        return command(chosen=Chosen(numbers, Choice(handler, reason, run_id, since, until)), **more)

    every = click.option("--all", "everything", is_flag=True, help="Every dead letter.")
    return click.argument("numbers", type=click.IntRange(1), nargs=-1)(_common(every(chosen)))


@click.group()
def dlq() -> None:
    """Dead letters: events that could not be handled."""


@dlq.command("list")
@_common
@click.option("--limit", type=click.IntRange(0), default=5, show_default=True, help="Newest ones shown of each group.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(
    handler: str | None,
    reason: Reason | None,
    run_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show how many dead letters there are by reason and handler, how old, and the newest of each."""
    run(_list(Choice(handler, reason, run_id, since, until), limit, as_json))


@dlq.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--raw", is_flag=True, help="Write the original bytes and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(number: int, raw: bool, as_json: bool) -> None:
    """Show one dead letter whole: original bytes, headers, attempts, traceback, and the events that led to it.

    \b
    stenobus dlq show 12 --raw > event.json; edit event.json
    stenobus dlq retry 12 --payload @event.json
    """
    run(_show(settings(), number, raw, as_json))


@dlq.command()
@_choosing
@click.option("--edit", "editor", is_flag=True, help="Edit the payload in $EDITOR first (one dead letter).")
@click.option("--payload", metavar="JSON|@FILE|-", help="With this payload (one dead letter).")
@click.option("--set", "assignments", metavar="PATH=JSON", multiple=True, help="With this field set; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be published, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def retry(
    chosen: Chosen, editor: bool, payload: str | None, assignments: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Hand events to the handler that gave up, and to nobody else; the dead letters go.

    An edited payload is checked against its contract first. What cannot be published stays, and is named.

    \b
    stenobus dlq retry 12 --edit
    stenobus dlq retry --handler asr --since 2h
    stenobus dlq retry --run talk-42 --set media.language='"en"'
    """
    if (editor or payload is not None) and len(chosen.numbers) != 1:
        raise click.UsageError("--edit and --payload are for one dead letter, named by its number; --set is for many.")
    if editor + (payload is not None) + bool(assignments) > 1:
        raise click.UsageError("Choose one of --edit, --payload and --set.")
    edit: edits.Edit | None = None
    if editor:
        edit = edits.in_editor
    elif payload is not None:
        edit = edits.replacing(read_payload(payload))
    elif assignments:
        edit = edits.setting(assignments)
    if not run(_retry(settings(), chosen, edit, dry_run, as_json)):
        raise SystemExit(1)


@dlq.command()
@_choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(chosen: Chosen, yes: bool) -> None:
    """Delete dead letters for good."""
    count = run(_count(chosen))
    if count and not yes:
        click.confirm(f"Delete {count} dead letter{'' if count == 1 else 's'} for good?", abort=True)
    click.echo(f"{run(_purge(chosen)) if count else 0} deleted.")


async def _list(choice: Choice, limit: int, as_json: bool) -> None:
    async with services(settings()) as (session, _):
        found = await groups(session.bus, choice, limit)
    if as_json:
        print_json(
            {
                "total": sum(group.count for group in found),
                "groups": [
                    {
                        "handler": group.handler,
                        "reason": group.reason,
                        "count": group.count,
                        "oldest": group.oldest.isoformat(),
                        "newest": [pages.described(entry) for entry in reversed(group.newest)],
                    }
                    for group in found
                ],
            }
        )
        return
    console = Console(highlight=False, markup=False)
    if found:
        pages.overview(console, found, pages.now())
    else:
        console.print("There are no dead letters." if choice == Choice() else "There are no such dead letters.")


async def _show(found: CoreSettings, number: int, raw: bool, as_json: bool) -> None:
    async with services(found) as (session, _):
        (entry,) = [entry async for entry in _entries(session.bus, Chosen((number,), Choice()))]
        if isinstance(entry, Unreadable):
            if raw:
                raise click.ClickException(
                    f"Dead letter {number} is unreadable ({entry.why}); there are no original bytes."
                )
            if as_json:
                print_json(pages.described(entry))
            else:
                Console(highlight=False).print(pages.unreadable_page(entry))
            return
        body: bytes | None = None
        try:
            body = await original(session.bus, entry.letter)
        except LetterRefused as error:
            if raw:
                raise click.ClickException(f"Dead letter {number} has no original bytes: {error}.") from error
        if raw:
            click.echo(body or b"", nl=False)
            return
        chain = await _causes(found, session.bus, entry)
    if as_json:
        print_json({**pages.described(entry, whole=True), "causes": [_cause(event) for event in chain]})
    else:
        Console(highlight=False).print(pages.page(entry, body, chain, pages.now()))


async def _causes(found: CoreSettings, bus: Bus, entry: Entry) -> list[Remembered]:
    letter = entry.letter
    if not letter.causation:
        return []
    discover(found)  # plugins bring domains of their own
    streams = [domain(name).name for name in registry.domains()]
    return await causes(bus, streams, letter.causation, letter.run, letter.failed_at)


async def _retry(found: CoreSettings, chosen: Chosen, edit: edits.Edit | None, dry_run: bool, as_json: bool) -> bool:
    """Whether all that was chosen could be published."""
    contracts = _Contracts(found) if edit else None
    done: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []

    async def one(bus: Bus, entry: Entry | Unreadable) -> None:
        try:
            if isinstance(entry, Unreadable):
                raise LetterRefused(f"it is unreadable: {entry.why}")
            edited = await _edited(bus, entry, edit, contracts) if edit and contracts else None
            stored = None if dry_run else await retry_letter(bus, entry, edited)
        except BusError as error:
            kept.append({"number": entry.sequence, "error": str(error)})
        else:
            done.append({"number": entry.sequence, **(stored._asdict() if stored else {})})

    async with services(found) as (session, _):
        async for batch in batches(_entries(session.bus, chosen), _WIDTH):
            await asyncio.gather(*(one(session.bus, entry) for entry in batch))
    if as_json:
        print_json({"dry_run": dry_run, "published": done, "kept": kept})
        return not kept
    for letter in kept:
        click.echo(f"Dead letter {letter['number']} stays: {letter['error'].rstrip('.')}.", err=True)
    if dry_run:
        numbers = sorted(letter["number"] for letter in done)
        named = ", ".join(map(str, numbers[:_NAMED])) + (", …" if len(numbers) > _NAMED else "")
        click.echo(f"{len(done)} would be published again" + (f": {named}." if done else "."))
    else:
        click.echo(f"{len(done)} published again.")
    return not kept


async def _edited(bus: Bus, entry: Entry, edit: edits.Edit, contracts: _Contracts) -> bytes:
    try:
        body = await original(bus, entry.letter)
    except LetterRefused:
        body = b""  # an edit may make up for it
    edited = await asyncio.to_thread(edit, entry.letter, body)  # an editor takes its time; the connection lives on
    if contract := contracts.of(entry):
        try:
            validate(entry.letter, edited, contract)
        except BusError as error:
            if edit is not edits.in_editor:
                raise
            file = edits.keep(entry.sequence, edited)
            again = f"stenobus dlq retry {entry.sequence} --payload @{file}"
            raise LetterRefused(f"{error}; your edit is in {file}, mend it and run `{again}`") from error
    return edited


class _Contracts:
    """What handlers expect: their own contract, or else that of the subject."""

    def __init__(self, found: CoreSettings) -> None:
        self._known = {
            handler.name: handler.contract for p in discover(found).plugins.values() for handler in p.handlers
        }

    def of(self, entry: Entry) -> type[Event] | None:
        """None when nobody here knows it."""
        return self._known.get(entry.letter.handler) or registry.by_subject(entry.letter.original_subject)


async def _count(chosen: Chosen) -> int:
    async with services(settings()) as (session, _):
        if chosen.numbers:
            return len([entry async for entry in _entries(session.bus, chosen)])
        return sum(group.count for group in await groups(session.bus, chosen.choice, 0))


async def _purge(chosen: Chosen) -> int:
    async with services(settings()) as (session, _):
        if not chosen.numbers:
            return await purge_letters(session.bus, chosen.choice)
        entries = [entry async for entry in _entries(session.bus, chosen)]
        for entry in entries:
            await remove(session.bus, entry)
        return len(entries)


async def _entries(bus: Bus, chosen: Chosen) -> AsyncGenerator[Entry | Unreadable, None]:
    """The dead letters that were chosen."""
    if not chosen.numbers:
        async for entry in choose(bus, chosen.choice):
            yield entry
        return
    found = {number: await find(bus, number) for number in chosen.numbers}
    if missing := [number for number, known in found.items() if known is None]:
        which = ", ".join(map(str, missing))
        raise click.ClickException(f"There is no such dead letter: {which}; `stenobus dlq list` shows what is there.")
    for known in found.values():
        if known:
            yield known


def _cause(event: Remembered) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "subject": event.subject,
        "stream": event.stream,
        "sequence": event.sequence,
        "time": event.time.isoformat(),
        "causation": event.attributes.get("causationid"),
    }
