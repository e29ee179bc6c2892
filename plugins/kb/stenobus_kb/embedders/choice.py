"""The embedder that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import Settings
    from . import Embedder


def chosen(settings: Settings) -> Embedder | None:
    """The embedder, None when words are to be searched alone. Libraries are loaded for the chosen one only."""
    if settings.embedder == "none":
        return None
    from .hashed import HashedEmbedder

    return HashedEmbedder(settings.embedding_dimension or 384)
