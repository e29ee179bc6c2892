"""``stenobus kb serve`` and ``stenobus kb keys``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stenobus_core.http.key_commands import keys_group, limits, tell

if TYPE_CHECKING:
    import socket

    from ..embedders import Embedder
    from ..settings import Settings
    from .callers import Door
    from .keys import Key, Keys

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 picks a free one.")
@click.option("--open", "everybody", is_flag=True, help="Ask for no key; on the loopback address only.")
@click.option("--tls-cert", type=click.Path(exists=True, path_type=Path), help="Serve HTTPS with this certificate.")
@click.option("--tls-key", type=click.Path(exists=True, path_type=Path), help="The certificate's private key.")
def serve(host: str, port: int, everybody: bool, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve search, documents and collections over HTTP, until Ctrl-C.

    What it can be asked is described at /openapi.json. Callers need an API key (`stenobus kb keys add`) or a JSON Web
    Token (STENOBUS_KB_JWT_KEY).
    """
    from stenobus_core.errors import StenobusError
    from stenobus_core.http import serving as http
    from stenobus_core.logs import configure
    from stenobus_core.settings import CoreSettings

    from ..errors import KbError
    from ..settings import Settings

    if everybody and host not in _LOOPBACK:
        raise click.UsageError("--open is for the loopback address only; elsewhere anybody could read it all.")
    http.need("stenobus-kb", "fastapi", "jwt", "uvicorn")
    try:
        settings, core = Settings.load("kb"), CoreSettings.load("core")
        door = None if everybody else _door(settings)
        embedder = settings.make_embedder()
    except (KbError, StenobusError, OSError) as error:
        raise click.ClickException(str(error)) from error
    configure(core)
    with http.listening(host, port) as listener:
        _run(settings, embedder, door, listener, tls_cert, tls_key)


def _run(
    settings: Settings,
    embedder: Embedder | None,
    door: Door | None,
    listener: socket.socket,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    from stenobus_core.http import serving as http

    from ..search import Searcher, Shared
    from .app import create
    from .reading import Reading

    shared = Shared()
    reading = Reading(settings.index_path, lambda: Searcher(settings.index_path, embedder, settings.ranking, shared))
    app = create(reading, door)
    http.serve(app, listener, "kb.api", tls_cert, tls_key)


def _door(settings: Settings) -> Door:
    from ..errors import KbError
    from .callers import Door, Tokens
    from .keys import Keys

    keys, tokens = Keys(settings.api_keys_path), None
    key = settings.jwt_key.get_secret_value() if settings.jwt_key else ""
    if settings.jwt_key_file:
        key = settings.jwt_key_file.read_text()
    if key:
        tokens = Tokens(key, settings.jwt_audience, settings.jwt_issuer, settings.jwt_per_minute)
    if tokens is None and not keys.all():
        raise KbError(
            "Nobody could ask: make a key by `stenobus kb keys add NAME`, set STENOBUS_KB_JWT_KEY, or use --open on "
            "this machine."
        )
    return Door(keys, tokens)


@click.command("add")
@click.argument("name")
@click.option("--collection", "collections", multiple=True, help="What it may search; may be repeated.")
@click.option("--all-collections", is_flag=True, help="It may search every collection.")
@click.option("--as", "principals", multiple=True, help="Who its holder is, such as group:support; may be repeated.")
@click.option("--owner", is_flag=True, help="It finds everything, whoever it is for, and may ask for others.")
@limits(per_minute=600)
def add(
    name: str,
    collections: tuple[str, ...],
    all_collections: bool,
    principals: tuple[str, ...],
    owner: bool,
    per_minute: int,
    expires: datetime | None,
) -> None:
    """Make a key and print it, this once. It finds what is for everybody, unless --as or --owner says more."""
    if bool(collections) == all_collections:
        raise click.UsageError("Name what the key may search by --collection, or say --all-collections.")
    if principals and owner:
        raise click.UsageError("--as and --owner exclude each other.")
    opens = None if all_collections else collections
    tell(_keys().add(name, opens, None if owner else principals, per_minute, expires))


def _keys() -> Keys:
    from ..settings import Settings
    from .keys import Keys

    return Keys(Settings.load("kb").api_keys_path)


def _collections(key: Key) -> str:
    return "all" if key.collections is None else ", ".join(key.collections)


def _finds(key: Key) -> str:
    return "everything" if key.principals is None else ", ".join(("public", *key.principals))


keys = keys_group("stenobus kb keys", _keys, add, {"Collections": _collections, "Finds": _finds})
