"""``stenobus dlq``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, get_args

import click
from rich.console import Console

from stenobus_bus import Bus
from stenobus_bus.dead_letters import Entry, letters, remove
from stenobus_bus.dead_letters import retry as retry_letter
from stenobus_contracts import Reason

from .running import print_json, run, services, settings

C = TypeVar("C", bound=Callable[..., Any])


def _choice(command: C) -> C:
    """The ways to say which dead letters."""
    command = click.option("--reason", type=click.Choice(get_args(Reason)), help="Every one of this reason.")(command)
    command = click.option("--handler", help="Every dead letter of this handler.")(command)
    command = click.option("--all", "everything", is_flag=True, help="Every dead letter.")(command)
    return click.argument("numbers", type=int, nargs=-1)(command)


@click.group()
def dlq() -> None:
    """Dead letters: events that could not be handled."""


@dlq.command("list")
@click.option("--handler", help="Of this handler only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(handler: str | None, as_json: bool) -> None:
    """List dead letters, and how many there are of each reason."""
    entries = run(_find(handler))
    if as_json:
        print_json(
            [
                {"number": entry.sequence, **entry.letter.model_dump(mode="json", exclude={"traceback"})}
                for entry in entries
            ]
        )
        return
    console = Console(highlight=False, markup=False)
    if not entries:
        console.print("There are no dead letters.")
        return
    for number, letter in entries:
        tries = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
        console.print(
            f"{number:<6} {letter.handler:<20} {letter.reason}, {tries}, run {letter.run}\n       {letter.message}",
            soft_wrap=True,  # a table has no room for the message beside the run's id
        )
    counts = Counter(entry.letter.reason for entry in entries)
    console.print(", ".join(f"{count} {reason}" for reason, count in counts.most_common()))


@dlq.command()
@click.argument("number", type=int)
def show(number: int) -> None:
    """Show one dead letter whole: original bytes, headers, attempts, traceback."""
    (entry,) = _choose((number,), False, None, None)
    print_json({"number": entry.sequence, **entry.letter.model_dump(mode="json", exclude_none=True)})


@dlq.command()
@_choice
def retry(numbers: tuple[int, ...], everything: bool, handler: str | None, reason: str | None) -> None:
    """Hand events to the handler that gave up, and to nobody else; the dead letters go."""
    entries = _choose(numbers, everything, handler, reason)
    run(_each(entries, retry_letter))
    click.echo(f"{len(entries)} published again.")


@dlq.command()
@_choice
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(numbers: tuple[int, ...], everything: bool, handler: str | None, reason: str | None, yes: bool) -> None:
    """Delete dead letters for good."""
    entries = _choose(numbers, everything, handler, reason)
    if entries and not yes:
        click.confirm(f"Delete {len(entries)} dead letters for good?", abort=True)
    run(_each(entries, remove))
    click.echo(f"{len(entries)} deleted.")


def _choose(numbers: tuple[int, ...], everything: bool, handler: str | None, reason: str | None) -> list[Entry]:
    """The dead letters that the options name."""
    if not (numbers or everything or handler or reason):
        raise click.UsageError("Name dead letters by number, --handler, --reason or --all.")
    entries = [
        entry
        for entry in run(_find(handler))
        if (not numbers or entry.sequence in numbers) and (reason is None or entry.letter.reason == reason)
    ]
    if missing := set(numbers) - {entry.sequence for entry in entries}:
        which = ", ".join(map(str, sorted(missing)))
        raise click.ClickException(f"There is no such dead letter: {which}; `stenobus dlq list` shows what is there.")
    return entries


async def _find(handler: str | None) -> list[Entry]:
    async with services(settings()) as (session, _):
        return [entry async for entry in letters(session.bus, handler)]


async def _each(entries: list[Entry], act: Callable[[Bus, Entry], Awaitable[object]]) -> None:
    async with services(settings()) as (session, _):
        for entry in entries:
            await act(session.bus, entry)
