"""Ingestion: uploaded documents become Markdown, what is in them becomes JSON, and both can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .service import plugin

__all__ = ["plugin"]


def __getattr__(name: str) -> Any:
    # The process that reads one document imports this package, too, and must not load the host.
    if name == "plugin":
        from .service import plugin

        return plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
