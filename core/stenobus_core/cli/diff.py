"""``stenobus diff``."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, get_args

import click
from rich.console import Console

from stenobus_bus.history import Remembered

from ..compare import Pair, Status, compare
from ..differences import NOTHING, Difference
from ..discovery import discover
from ..settings import CoreSettings
from .running import print_json, run, services, settings

#: Characters of a value on a terminal line.
_WIDTH = 200


class _Incomparable(click.ClickException):
    """No answer, which is neither equal nor different."""

    exit_code = 2


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("shadow")
@click.option("--handler", metavar="NAME", help="Whose outputs are the original ones; found out by default.")
@click.option("--ignore", multiple=True, metavar="PATH", help="What may differ, such as stages[*].seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diff(run_id: str, shadow: str, handler: str | None, ignore: tuple[str, ...], as_json: bool) -> None:
    """Compare what RUN's handler made with what SHADOW holds for the same events.

    Exits with 0 when all is equal, 1 when something differs, 2 when it cannot be compared.
    """
    try:
        found = settings()
        discover(found)  # plugins bring contracts of their own
        pairs = run(_compare(found, run_id, shadow, handler, ignore))
        if not pairs:
            raise click.ClickException(
                f"The shadow {shadow} and run {run_id} have no event in common; `stenobus replay … --shadow {shadow}` "
                "makes one, and its handler must be running."
            )
    except click.ClickException as error:
        raise _Incomparable(error.message) from error
    counts = Counter(pair.status for pair in pairs)
    if as_json:
        summary = {status: counts[status] for status in get_args(Status)}
        print_json({"run": run_id, "shadow": shadow, "pairs": [_document(pair) for pair in pairs], "summary": summary})
    else:
        _print(pairs, counts)
    raise SystemExit(0 if counts["equal"] == len(pairs) else 1)


async def _compare(
    found: CoreSettings, run_id: str, shadow: str, handler: str | None, ignore: tuple[str, ...]
) -> list[Pair]:
    async with services(found) as (session, opened):
        return await compare(session.bus, opened.blobs, run_id, shadow, handler=handler, ignore=ignore)


def _print(pairs: list[Pair], counts: Counter[Status]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for pair in pairs:
        console.print(f"{pair.status:<10} {pair.contract} {pair.ordinal} of {pair.causation}")
        for difference in pair.differences:
            console.print(f"           {difference.path or 'the payload'}: {_change(difference)}")
            for line in (difference.text or "").splitlines():
                console.print(f"             {line}")
    console.print(", ".join(f"{counts[status]} {status}" for status in get_args(Status)))


def _change(difference: Difference) -> str:
    if difference.text is not None:
        return "another text"
    return f"{_short(difference.original)} → {_short(difference.shadow)}"


def _short(value: Any) -> str:
    text = "nothing" if value is NOTHING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def _document(pair: Pair) -> dict[str, Any]:
    return {
        "causation": pair.causation,
        "contract": pair.contract,
        "ordinal": pair.ordinal,
        "status": pair.status,
        "original": _place(pair.original),
        "shadow": _place(pair.shadow),
        "differences": [_difference(difference) for difference in pair.differences],
    }


def _place(event: Remembered | None) -> dict[str, Any] | None:
    return None if event is None else {"id": event.event_id, "stream": event.stream, "sequence": event.sequence}


def _difference(difference: Difference) -> dict[str, Any]:
    """A side that has nothing there is left out."""
    sides = {"original": difference.original, "shadow": difference.shadow}
    found = {"path": difference.path, **{name: value for name, value in sides.items() if value is not NOTHING}}
    return found if difference.text is None else {**found, "diff": difference.text}
