"""Why a document cannot be read, each in one sentence that says what to do."""

from __future__ import annotations


class Unreadable(Exception):
    """The document cannot be read, now or later.

    Args:
        reason: encrypted, damaged, empty, mismatch, too_large, unsupported, or crashed: the reader broke on it.
        message: one sentence without the document's name, which whoever reports it puts in front.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
