"""How far an action may go by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stenobus_contracts import Level

from ..containers import Container
from .protected import protected

#: From the one that does nothing to the one that asks nobody.
LEVELS: Final[tuple[Level, ...]] = ("observe", "propose", "approve", "automatic")
#: In the settings: the restart of a container of plugins that has ended.
CRASHED_PLUGIN: Final = "restart.plugin"
#: In the settings: cleaning a full disk, which removes for good.
FULL_DISK: Final = "clean.full"
_CRASHED: Final = frozenset({"container.crashed", "container.exited"})


def wanted(levels: Mapping[str, Level], kind: str, incident_kind: str, container: Container | None) -> Level:
    """The level by the settings: observe, but for the restart of a crashed plugin, which is automatic.

    Args:
        levels: kind of action to level; ``restart.plugin`` is the restart of a crashed plugin, ``clean.full`` a
            ``clean`` that cannot be taken back, which asks people unless it is named itself.
        kind: of action, as in ``levels``.
        container: what the action is about, if that is a container.
    """
    if kind == "restart" and incident_kind in _CRASHED and container is not None and container.plugins:
        return levels.get(CRASHED_PLUGIN, levels.get(kind, "automatic"))
    if kind == FULL_DISK:
        return levels.get(kind, lower(levels.get("clean", "observe"), "approve"))
    return levels.get(kind, "observe")


def allowed(level: Level, container: Container | None, *, trusted: bool, able: bool) -> Level:
    """The level that is left: lowered by what speaks against it, never raised.

    Args:
        trusted: earlier actions of the kind were right often enough to ask nobody.
        able: there is somebody who can carry it out.
    """
    if not trusted or (container is not None and protected(container)):
        level = lower(level, "approve")
    return level if able else lower(level, "propose")


def lower(one: Level, other: Level) -> Level:
    """The one that may do less."""
    return min(one, other, key=LEVELS.index)
