"""A document's version on its way into the index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from stenobus_contracts import KbDocument

from . import chunk
from .chunk import Chunk
from .text import clean, digest


@dataclass(frozen=True)
class Prepared:
    """A document's version, ready to be staged."""

    document: KbDocument
    chunks: Sequence[Chunk]

    @cached_property
    def texts(self) -> list[tuple[str, str, str]]:
        """Title, heading path and text of every chunk: what is matched, shown and embedded."""
        title = clean(self.document.title)
        return [(title, " › ".join(part.headings), part.text) for part in self.chunks]

    @cached_property
    def embedded(self) -> list[tuple[bytes, str]]:
        """Digest and text of every chunk, as an embedder gets it."""
        return [(digest(*texts), as_embedded(*texts)) for texts in self.texts]


def as_embedded(title: str, heading: str, text: str) -> str:
    """A chunk as an embedder gets it."""
    return "\n".join(part for part in (title, heading, text) if part)


def fingerprint(document: KbDocument, source: str | None) -> str:
    """Equal exactly when indexing the document again would write the same."""
    parts = [
        chunk.VERSION,
        document.title,
        document.uri,
        document.metadata,
        document.content.sha256,
        sorted(document.principals),
        source,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
