"""Serve an application over HTTP, until the process is told to stop."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .keys import Keys

if TYPE_CHECKING:
    from fastapi import FastAPI

_UNITS: Final = {"h": 3600, "d": 86_400, "w": 604_800}


def need(distribution: str, *modules: str) -> None:
    """Raises ClickException when a module is not installed."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise click.ClickException(f"{missing[0]} is not installed: pip install '{distribution}[http]'.")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ClickException."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise click.ClickException(
            f"{host}:{port} cannot be listened on ({error.strerror}); name another --host or --port."
        ) from error


def serve(app: FastAPI, listener: socket.socket, name: str, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve until SIGINT or SIGTERM, and say where in the log of that name."""
    import structlog
    import uvicorn

    config = uvicorn.Config(
        app,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=500,
        timeout_graceful_shutdown=10,
    )
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls_cert else "http"
    structlog.get_logger(name).info("listening", url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    uvicorn.Server(config).run(sockets=[listener])


def revoked(keys: Keys[Any], key_id: str, command: str) -> str:
    """Take a key away; what to tell people. Raises ClickException when there is none of that id."""
    key = keys.revoke(key_id)
    if key is None:
        raise click.ClickException(f"There is no key {key_id}; `{command} list` shows their ids.")
    return f"{key.name} ({key.id}) opens nothing any more."


def expiry(text: str | None) -> datetime | None:
    """The time that ``12h``, ``90d`` or ``52w`` from now is. Raises BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if found is None:
        raise click.BadParameter(f"{text} is no time such as 12h, 90d or 52w.", param_hint="--expires")
    return datetime.now(UTC) + timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def until(expires: datetime | None, over: bool) -> str:
    """For people."""
    return "never" if expires is None else f"{expires:%Y-%m-%d %H:%M}{' (over)' if over else ''}"
