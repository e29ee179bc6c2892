"""``stenobus search``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

    from .search import Hit


@click.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option("--collection", metavar="NAME", help="Search this collection only.")
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Most hits to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def search(words: tuple[str, ...], collection: str | None, limit: int, as_json: bool) -> None:
    """Find passages of documents. "Quoted words" are a phrase.

    Exits with 1 when nothing is found.
    """
    from stenobus_core.errors import SettingsError

    from .errors import KbError
    from .search import search as find
    from .settings import Settings

    query = " ".join(words)
    try:
        hits = find(Settings.load("kb").index_path, query, collection=collection, limit=limit)
    except (KbError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _print_json(query, collection, hits)
    else:
        _print(hits)
    if not hits:
        where = f" in the collection {collection}" if collection else ""
        raise click.ClickException(f'Nothing{where} matches "{query}": try other or fewer words.')


def _print_json(query: str, collection: str | None, hits: list[Hit]) -> None:
    import json
    from dataclasses import asdict

    found = {"query": query, "collection": collection, "results": [asdict(hit) for hit in hits]}
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _print(hits: list[Hit]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for hit in hits:
        console.print(_shown(hit), soft_wrap=not console.is_terminal)  # no line breaks for grep


def _shown(hit: Hit) -> Text:
    from rich.text import Text

    from .text import clean

    shown = Text()
    shown.append(hit.title, style="bold")
    if hit.heading:
        shown.append(f" › {hit.heading}")
    if hit.start is not None:
        shown.append(f"  {_clock(hit.start)}", style="cyan")
    snippet = Text(hit.snippet)
    for start, end in hit.highlights:
        snippet.stylize("bold yellow", start, end)
    shown.append("\n").append_text(snippet)
    if hit.uri:
        moment = f"#t={int(hit.start)}" if hit.start is not None else ""  # W3C Media Fragments: players jump there
        shown.append(f"\n{clean(hit.uri)}{moment}", style="dim")
    return shown.append("\n")


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
