"""What can go wrong with a source. Every text is one sentence for people."""

from __future__ import annotations


class SourceError(Exception):
    """Base of this distribution's errors."""


class Misconfigured(SourceError):
    """Somebody has to change a setting, a right or an address first."""


class Unreachable(SourceError):
    """The source does not answer, or not sensibly. It may do so later.

    Args:
        message: one sentence.
        delay: seconds that the source asked to be left alone.
    """

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class BadPage(SourceError):
    """One request cannot be answered, while others can: the server fails on it, or its answer is none."""


class PastTheEnd(SourceError):
    """There is no such page (any more)."""
