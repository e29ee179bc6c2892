"""The plugin host of Stenobus. Plugin authors need only what is named here."""

from stenobus_bus import BlobNotFound, PermanentError, RetryableError, RetryPolicy

from .blobs import BlobStore
from .context import Context
from .errors import PluginError, SettingsError, StenobusError
from .host import Host
from .plugin import Check, Handler, Plugin
from .settings import CoreSettings, PluginSettings

__all__ = [
    "BlobNotFound",
    "BlobStore",
    "Check",
    "Context",
    "CoreSettings",
    "Handler",
    "Host",
    "PermanentError",
    "Plugin",
    "PluginError",
    "PluginSettings",
    "RetryPolicy",
    "RetryableError",
    "SettingsError",
    "StenobusError",
]
