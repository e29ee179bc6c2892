"""What a remote or loaded model returns, checked and brought to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EmbedderRefused

if TYPE_CHECKING:
    from . import Vectors


def checked(rows: Sequence[Any], count: int, dimension: int | None, who: str) -> Vectors:
    """Rows as float32 vectors of length 1.

    Raises:
        EmbedderRefused: they are not as many as asked for, not finite numbers, or of another dimension.
    """
    try:
        found = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbedderRefused(f"{who} answered with something else than vectors of one length.") from error
    if found.ndim != 2 or found.shape[0] != count or not np.isfinite(found).all():
        raise EmbedderRefused(f"{who} answered {found.shape} numbers to {count} texts, or some that are not finite.")
    if dimension is not None and found.shape[1] != dimension:
        raise EmbedderRefused(
            f"{who} answers with {found.shape[1]} numbers per vector and STENOBUS_KB_EMBEDDING_DIMENSION says"
            f" {dimension}: correct the setting or leave it out."
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    found /= np.where(lengths > 0, lengths, 1)
    return found
