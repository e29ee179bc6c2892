"""A real container engine and containers that end with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stenobus_executor.rules import Rules

from ..support.containers import (  # noqa: F401 -- fixtures among them
    SOCKET,
    Containers,
    busybox,
    containers,
    engine_client,
    missing,
)
from ..support.executor import executing

#: Of approvals, in the executor that :func:`executor` is.
KEY = b"k" * 40


@pytest.fixture
async def executor(tmp_path: Path, containers: Containers) -> AsyncIterator[Path]:  # noqa: F811
    """The socket of one that sees and touches the containers of the test, and has the key of approvals."""
    names = (f"{containers.prefix}-*",)
    async with executing(tmp_path / "executor.sock", Rules(visible=names, touchable=names), KEY):
        yield tmp_path / "executor.sock"
