"""Find plugins by their entry points. One that is broken is reported by name and stops nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from .errors import PluginError
from .plugin import API_VERSION, Plugin
from .settings import CoreSettings

GROUP: Final = "stenobus.plugins"


@dataclass(frozen=True)
class Discovered:
    """What is installed."""

    plugins: dict[str, Plugin] = field(default_factory=dict)
    #: Name → why it cannot be used.
    broken: dict[str, str] = field(default_factory=dict)
    #: Left out by the settings, their own among them.
    off: tuple[str, ...] = ()


def discover(settings: CoreSettings, only: Collection[str] = ()) -> Discovered:
    """Load the installed plugins that the settings allow.

    Args:
        only: names or families (``documents`` means every ``documents-…``); all when empty.

    Raises:
        PluginError: a name in ``only`` belongs to no installed plugin.
    """
    points: dict[str, EntryPoint] = {}
    twice: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        if points.setdefault(point.name, point).value != point.value:
            twice[point.name] = f"it is claimed by {points[point.name].value} and {point.value}; uninstall one"
    for wanted in only:
        if not any(_matches(name, wanted) for name in points):
            raise PluginError(f"No plugin is named {wanted}; installed: {', '.join(points) or 'none'}.")
    found, broken, off = {}, {}, []
    for name, point in points.items():
        if not _allowed(name, settings, only):
            off.append(name)
            continue
        try:
            if name in twice:
                raise PluginError(twice[name])
            plugin = _load(point)
            if plugin.is_enabled:
                found[name] = plugin
            else:
                off.append(name)
        except (Exception, SystemExit) as error:  # a stranger's module can raise anything at import
            broken[name] = f"{type(error).__name__}: {error}"
    return Discovered(found, broken, tuple(off))


def _load(point: EntryPoint) -> Plugin:
    plugin = point.load()
    if not isinstance(plugin, Plugin):
        raise PluginError(f"{point.value} is no Plugin")
    if plugin.name != point.name:
        raise PluginError(f"{point.value} is named {plugin.name!r}, but its entry point {point.name!r}")
    if plugin.api_version != API_VERSION:
        raise PluginError(f"it is made for plugin interface {plugin.api_version}, this host speaks {API_VERSION}")
    if plugin.idle:
        raise PluginError("it declares no handler, no schedule and no lifespan")
    return plugin


def _allowed(name: str, settings: CoreSettings, only: Collection[str]) -> bool:
    if any(_matches(name, off) for off in settings.plugins_off):
        return False
    wanted = only or settings.plugins
    return not wanted or any(_matches(name, part) for part in wanted)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}-")
