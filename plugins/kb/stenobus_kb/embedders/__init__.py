"""Who turns text into vectors, as a family of alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

#: What a text is: some models embed a question otherwise than the passage that answers it.
Role = Literal["passage", "query"]


class Embedder(Protocol):
    """Turns texts into vectors of length 1. Safe to use from several threads."""

    @property
    def model(self) -> str:
        """Names what the vectors follow from: other names, other vectors, which are never compared with these."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers per vector."""
        ...

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """One row per text, float32, of length 1; a text without any content may be all zeroes.

        Raises:
            EmbedderUnavailable: it does not answer, or not now.
            EmbedderRefused: it will never answer this, as it is set up.
        """
        ...
