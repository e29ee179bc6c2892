"""``stenobus search``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

    from .filters import Value
    from .search import Hit, Mode, Page


@click.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option("--collection", metavar="NAME", help="Search this collection only.")
@click.option("--source", metavar="NAME", help="Search documents from this source only.")
@click.option(
    "--where", metavar="KEY=VALUE", multiple=True, help="Only documents with this in their metadata; may be repeated."
)
@click.option(
    "--as",
    "principals",
    metavar="NAME",
    multiple=True,
    help="Search as somebody who is this, such as group:support; may be repeated. Everything is found without it.",
)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Most hits to show.")
@click.option("--offset", type=click.IntRange(0, 900), default=0, help="Best hits to leave out.")
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "words", "vectors"]),
    default="hybrid",
    show_default=True,
    help="Search by words, by vectors, or by both.",
)
@click.option("--explain", is_flag=True, help="Show rank and score in each leg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def search(
    words: tuple[str, ...],
    collection: str | None,
    source: str | None,
    where: tuple[str, ...],
    principals: tuple[str, ...],
    limit: int,
    offset: int,
    mode: Mode,
    explain: bool,
    as_json: bool,
) -> None:
    """Find passages of documents. "Quoted words" are a phrase.

    Exits with 1 when nothing is found.
    """
    from stenobus_core.errors import SettingsError

    from .errors import KbError
    from .search import Query
    from .search import search as find
    from .settings import Settings

    query = Query(
        " ".join(words),
        collections=(collection,) if collection else None,
        principals=principals or None,
        metadata=_fields(where),
        sources=(source,) if source else None,
        limit=limit,
        offset=offset,
        mode=mode,
    )
    try:
        settings = Settings.load("kb")
        page = find(settings.index_path, query, settings.make_embedder(), settings.ranking)
    except (KbError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _print_json(query.text, collection, page)
    else:
        _print(page.hits, explain=explain)
    if page.note:
        click.echo(page.note, err=True)
    if not page.hits:
        place = f" in the collection {collection}" if collection else ""
        raise click.ClickException(f'Nothing{place} matches "{query.text}": try other or fewer words.')


def _fields(texts: tuple[str, ...]) -> dict[str, Value]:
    from .filters import field_of

    try:
        return dict(map(field_of, texts))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from error


def _print_json(query: str, collection: str | None, page: Page) -> None:
    import json
    from dataclasses import asdict

    found = {
        "query": query,
        "collection": collection,
        "results": [asdict(hit) for hit in page.hits],
        "more": page.more,
        "model": page.model,
        "note": page.note,
    }
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _print(hits: Sequence[Hit], *, explain: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for hit in hits:
        console.print(_shown(hit, explain=explain), soft_wrap=not console.is_terminal)  # no line breaks for grep


def _shown(hit: Hit, *, explain: bool) -> Text:
    from rich.text import Text

    from .text import clean

    shown = Text()
    shown.append(hit.title, style="bold")
    if hit.heading:
        shown.append(f" › {hit.heading}")
    if hit.start is not None:
        shown.append(f"  {clock(hit.start)}", style="cyan")
    snippet = Text(hit.snippet)
    for start, end in hit.highlights:
        snippet.stylize("bold yellow", start, end)
    shown.append("\n").append_text(snippet)
    if hit.link:
        shown.append(f"\n{clean(hit.link)}", style="dim")
    if explain:
        legs = (f"{leg} #{place.rank} ({place.score:.3f})" for leg, place in hit.legs.items())
        shown.append(f"\n{hit.score:.4f} = {' + '.join(legs)}", style="dim")
    return shown.append("\n")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
