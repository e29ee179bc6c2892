"""A real container engine and containers that end with their test."""

from __future__ import annotations

from ..support.containers import (  # noqa: F401 -- fixtures among them
    SOCKET,
    Containers,
    busybox,
    containers,
    engine_client,
    missing,
)
