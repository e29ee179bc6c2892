"""What can go wrong on the way from a recording to its words. Every text is one sentence for people."""

from __future__ import annotations


class AsrError(Exception):
    """Base of the speech plugin's errors."""


class UnusableError(AsrError):
    """It can never work: the recording, or what was asked of it, has to change."""


class WorkerError(AsrError):
    """A worker process ended, stalled or failed; another attempt may work."""
