"""The plugin host of Stenobus. Plugin authors need only what is named here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stenobus_bus import AnswerRefused as AnswerRefused
    from stenobus_bus import BlobNotFound as BlobNotFound
    from stenobus_bus import PermanentError as PermanentError
    from stenobus_bus import RateLimit as RateLimit
    from stenobus_bus import RetryableError as RetryableError
    from stenobus_bus import RetryPolicy as RetryPolicy

    from .blob_stores import BlobStore as BlobStore
    from .context import Context as Context
    from .errors import PluginError as PluginError
    from .errors import SettingsError as SettingsError
    from .errors import StenobusError as StenobusError
    from .figures import Figure as Figure
    from .host import Host as Host
    from .plugin import Check as Check
    from .plugin import Client as Client
    from .plugin import Handler as Handler
    from .plugin import Plugin as Plugin
    from .settings import CoreSettings as CoreSettings
    from .settings import PluginSettings as PluginSettings

#: Public name → module. Imported on first use: `stenobus --help` must not wait for pydantic and the NATS client.
_HOMES = {
    "AnswerRefused": "stenobus_bus",
    "BlobNotFound": "stenobus_bus",
    "PermanentError": "stenobus_bus",
    "RateLimit": "stenobus_bus",
    "RetryPolicy": "stenobus_bus",
    "RetryableError": "stenobus_bus",
    "BlobStore": "stenobus_core.blob_stores",
    "Context": "stenobus_core.context",
    "PluginError": "stenobus_core.errors",
    "SettingsError": "stenobus_core.errors",
    "StenobusError": "stenobus_core.errors",
    "Figure": "stenobus_core.figures",
    "Host": "stenobus_core.host",
    "Check": "stenobus_core.plugin",
    "Client": "stenobus_core.plugin",
    "Handler": "stenobus_core.plugin",
    "Plugin": "stenobus_core.plugin",
    "CoreSettings": "stenobus_core.settings",
    "PluginSettings": "stenobus_core.settings",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
