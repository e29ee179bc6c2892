"""An executor at a socket of its own, before a real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stenobus_executor.actions import Actions
from stenobus_executor.checks import Checks
from stenobus_executor.engine import Engine
from stenobus_executor.ledger import Budget, Ledger
from stenobus_executor.rules import Rules
from stenobus_executor.server import Server

from .containers import SOCKET


@asynccontextmanager
async def executing(
    socket: Path,
    rules: Rules,
    key: bytes | None,
    *,
    engine: Path = SOCKET,
    budget: Budget | None = None,
    state: Path | None = None,
    **options: Any,
) -> AsyncIterator[Engine]:
    """One that runs meanwhile, and its way to the engine."""
    upstream, checks = Engine(engine), Checks(key)
    ledger = Ledger(state or socket.with_suffix(".json"), budget or Budget())
    server = Server(upstream, rules, Actions(upstream, rules, ledger, checks), checks, **options)
    async with server.listen(socket):
        yield upstream
