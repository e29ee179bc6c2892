"""Sources of the knowledge base: sites, folders and buckets that collections are kept in step with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .service import plugin

__all__ = ["plugin"]


def __getattr__(name: str) -> Any:
    # `stenobus sources` imports this package, too, and `--help` does not need the service.
    if name == "plugin":
        from .service import plugin

        return plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
