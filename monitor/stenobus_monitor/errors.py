"""What can go wrong while watching, each in one sentence that says what to do."""

from __future__ import annotations


class MonitorError(Exception):
    """The base of every error of this plugin."""


class EngineUnavailable(MonitorError):
    """The container engine does not answer, or not as expected."""


class NoSuchContainer(MonitorError):
    """The engine does not know the container, or no longer."""


class ActionFailed(MonitorError):
    """A remedy could not be carried out, did not help, or cannot be taken back."""


class LabelRefused(MonitorError):
    """A label says nothing, contradicts itself, or names what there is not."""


class ActionRefused(ActionFailed):
    """Nothing was done, because it must not be."""
