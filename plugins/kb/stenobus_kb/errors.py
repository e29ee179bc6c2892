"""What can be wrong with an index, each in one sentence that says what to do."""

from __future__ import annotations


class KbError(Exception):
    """The base of every error of this plugin."""


class IndexMissing(KbError):
    """There is no index at the path yet."""


class IndexUnusable(KbError):
    """The index cannot be opened, read or written."""


class StagingLost(KbError):
    """What a sync had staged was removed meanwhile: the sync has to be run again."""


class EmbedderUnavailable(KbError):
    """The embedder does not answer, or not now: the same again may work."""


class EmbedderRefused(KbError):
    """The embedder will never answer this, as it is set up."""
