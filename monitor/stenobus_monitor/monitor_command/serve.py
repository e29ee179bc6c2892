"""``stenobus monitor serve`` and ``stenobus monitor keys``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stenobus_core.http.key_commands import keys_group, limits, tell

from .asking import asked

if TYPE_CHECKING:
    from ..api.keys import Keys, Scope


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 picks a free one.")
@click.option("--tls-cert", type=click.Path(exists=True, path_type=Path), help="Serve HTTPS with this certificate.")
@click.option("--tls-key", type=click.Path(exists=True, path_type=Path), help="The certificate's private key.")
def serve(host: str, port: int, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve all of this over HTTP, until Ctrl-C.

    What it can be asked is described at /openapi.json. Callers need an API key (`stenobus monitor keys add`), those
    who follow an alert's link as well. To sign approvals it needs STENOBUS_MONITOR_APPROVAL_KEY.
    """
    from stenobus_core.errors import StenobusError
    from stenobus_core.http import serving as http

    http.need("stenobus-monitor", "fastapi", "prometheus_client", "uvicorn")

    from stenobus_core.logs import configure
    from stenobus_core.settings import CoreSettings

    from ..actions.approvals import ApprovalRefused, Approvals
    from ..api.app import create
    from ..api.keys import Keys
    from ..settings import Settings

    asked(lambda store: store.get("beat"))  # says in one sentence when there is no server
    try:
        settings, core = Settings.load("monitor"), CoreSettings.load("core")
    except StenobusError as error:
        raise click.ClickException(str(error)) from error
    configure(core)
    approvals = Approvals(settings.approval_key)
    try:
        approvals.read()
    except ApprovalRefused as error:
        click.echo(f"Approvals cannot be signed here: {error}", err=True)
    with http.listening(host, port) as listener:
        http.serve(create(core, Keys(settings.api_keys_path), approvals), listener, "monitor.api", tls_cert, tls_key)


@click.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "label", "silence", "approve"]),
    multiple=True,
    required=True,
    help="What it may do; may be repeated.",
)
@limits(per_minute=120)
def add(name: str, scopes: tuple[Scope, ...], per_minute: int, expires: datetime | None) -> None:
    """Make a key and print it, this once.

    read sees everything; label says what was right; silence asks for silences and holds; approve allows actions and
    ends holds.
    """
    tell(_keys().add(name, tuple(dict.fromkeys(scopes)), per_minute, expires))


def _keys() -> Keys:
    from ..api.keys import Keys
    from ..settings import Settings

    return Keys(Settings.load("monitor").api_keys_path)


keys = keys_group("stenobus monitor keys", _keys, add, {"May": lambda key: ", ".join(key.scopes)})
