"""The self-monitor: what is wrong with the containers, the bus and the pipeline, why, and what may be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .service import plugin

__all__ = ["plugin"]


def __getattr__(name: str) -> Any:
    # `stenobus monitor` imports this package, too, and does not need the service.
    if name == "plugin":
        from .service import plugin

        return plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
