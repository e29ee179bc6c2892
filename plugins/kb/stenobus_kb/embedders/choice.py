"""The embedder that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EmbedderRefused

if TYPE_CHECKING:
    from ..settings import Settings
    from . import Embedder


def chosen(settings: Settings) -> Embedder | None:
    """The embedder, None when words are to be searched alone. Libraries are loaded for the chosen one only.

    Raises:
        EmbedderRefused: a setting or a library is missing.
    """
    if settings.embedder == "none":
        return None
    if settings.embedder == "hashed":
        from .hashed import HashedEmbedder

        return HashedEmbedder(settings.embedding_dimension or 384)
    try:
        return _model(settings)
    except ImportError as error:
        raise EmbedderRefused(
            f"The embedder {settings.embedder} needs {error.name}: pip install stenobus-kb[{settings.embedder}]."
        ) from error


def _model(settings: Settings) -> Embedder:
    prefixes = (settings.passage_prefix, settings.query_prefix)
    if settings.embedder == "bedrock":
        from .bedrock import DIMENSION, MODEL, TitanEmbedder

        return TitanEmbedder(
            settings.embedding_model or MODEL,
            settings.embedding_dimension or DIMENSION,
            settings.embedding_region,
            settings.embedding_base_url,
        )
    if settings.embedding_model is None:
        raise EmbedderRefused(f"The embedder {settings.embedder} needs a model: set STENOBUS_KB_EMBEDDING_MODEL.")
    if settings.embedder == "onnx":
        from .onnx import OnnxEmbedder

        return OnnxEmbedder(Path(settings.embedding_model), prefixes)
    from .openai import OpenAiEmbedder

    key = settings.embedding_api_key
    return OpenAiEmbedder(
        settings.embedding_base_url or "https://api.openai.com/v1",
        settings.embedding_model,
        key.get_secret_value() if key else None,
        settings.embedding_dimension,
        prefixes,
    )
