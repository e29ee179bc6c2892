"""What can go wrong in the host: one tree. Every text is one sentence for people."""

from __future__ import annotations

from stenobus_bus import PermanentError


class StenobusError(Exception):
    """Base of the host's errors."""


class SettingsError(StenobusError):
    """A setting is missing or wrong."""


class PluginError(StenobusError):
    """A plugin is declared wrongly, or cannot be loaded."""


class Undeclared(PluginError, PermanentError):
    """A handler publishes or asks what it does not declare."""
