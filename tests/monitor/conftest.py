"""A real container engine and containers that end with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stenobus_bus import apply
from stenobus_contracts import Level
from stenobus_core.host import needs
from stenobus_executor.rules import Rules
from stenobus_monitor import plugin
from stenobus_monitor.actions import restart
from stenobus_testing import Stage

from ..support.containers import (  # noqa: F401 -- fixtures among them
    SOCKET,
    Containers,
    busybox,
    containers,
    engine_client,
    missing,
)
from ..support.executor import executing
from .living import World

#: Of approvals, in the executor that :func:`executor` is.
KEY = b"k" * 40


@pytest.fixture
async def executor(tmp_path: Path, containers: Containers) -> AsyncIterator[Path]:  # noqa: F811
    """The socket of one that sees and touches the containers of the test, and has the key of approvals."""
    names = (f"{containers.prefix}-*",)
    async with executing(tmp_path / "executor.sock", Rules(visible=names, touchable=names), KEY):
        yield tmp_path / "executor.sock"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file of the key of approvals."""
    path = tmp_path / "approvals.key"
    path.write_bytes(KEY)
    return path


@pytest.fixture
def levels() -> dict[str, Level]:
    """How far actions of :func:`world` go; a test module that needs others says so."""
    return {"restart": "automatic"}


@pytest.fixture
async def world(
    stage: Stage, key: Path, levels: dict[str, Level], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A monitor that carries actions out."""
    monkeypatch.setattr(restart, "_STEADY", 0.2)
    await apply(stage.bus, needs(stage.settings, [plugin]))
    begun = await World.begin(stage.bus, key=key, levels=levels)
    yield begun
    await begun.end()
