"""``stenobus opensearch``: here, where ``stenobus --help`` finds it without loading a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sinks.opensearch.query import Hit
    from .sinks.opensearch.settings import Settings


@click.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option("--collection", metavar="NAME", default="documents", show_default=True, help="Where to search.")
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
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Most documents to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def opensearch(
    words: tuple[str, ...],
    collection: str,
    where: tuple[str, ...],
    principals: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Find documents in the OpenSearch cluster that kb-opensearch keeps up to date.

    Exits with 1 when nothing is found.
    """
    import asyncio

    from stenobus_bus import HandlerError
    from stenobus_core.errors import SettingsError

    from .sinks.opensearch.settings import Settings

    text, filters = " ".join(words), _fields(where)
    try:
        settings = Settings.load("kb-opensearch")
        if settings.url is None:
            raise click.ClickException("No cluster is named: set STENOBUS_KB_OPENSEARCH_URL.")
        found = asyncio.run(_found(settings, collection, text, filters, principals or None, limit))
    except (HandlerError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    _print_json(text, collection, found) if as_json else _print(found)
    if not found:
        raise click.ClickException(f'Nothing in the collection {collection} matches "{text}": try other words.')


async def _found(
    settings: Settings,
    collection: str,
    text: str,
    filters: dict[str, str],
    principals: Sequence[str] | None,
    limit: int,
) -> list[Hit]:
    try:
        from .sinks.opensearch.sink import OpenSearchSink
    except ImportError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'stenobus-sinks[opensearch]'.") from error
    sink = OpenSearchSink(settings)
    try:
        return await sink.search(collection, text, filters=filters, principals=principals, size=limit)
    finally:
        await sink.close()


def _fields(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{text} is not KEY=VALUE.", param_hint="--where")
        found[key] = value
    return found


def _print_json(query: str, collection: str, hits: Sequence[Hit]) -> None:
    import json
    from dataclasses import asdict

    found = {"query": query, "collection": collection, "results": [asdict(hit) for hit in hits]}
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _print(hits: Sequence[Hit]) -> None:
    for hit in hits:
        click.echo(f"{click.style(_line(hit.title or hit.id), bold=True)}\n{_line(hit.text)}")
        click.echo(f"{_line(hit.uri or hit.id)}\n")


def _line(text: str) -> str:
    """What a cluster holds, without what a terminal obeys."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:500]
