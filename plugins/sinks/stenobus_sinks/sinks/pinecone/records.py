"""Documents as records: ids, metadata, marks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from stenobus_core import PermanentError

from ...port import Change, Document

#: Most bytes of a record's metadata, a limit of Pinecone.
MAX_METADATA_BYTES: Final = 40 * 1024
_LONGEST: Final = 200


def name(id: str) -> str:
    """A document's id as a part of records' ids: ASCII without ``#``, and not too long."""
    quoted = quote(id, safe="")
    return quoted if len(quoted) <= _LONGEST else hashlib.sha256(id.encode()).hexdigest()


def generation(change: Change, document: Document) -> str:
    """Of one version of a document: the same when the event is tried again."""
    return f"{change.order:x}.{document.digest[:16]}"


def record_id(collection: str, id: str, generation: str, number: int) -> str:
    """``collection#document#generation#chunk``."""
    return f"{collection}#{name(id)}#{generation}#{number}"


def metadata(collection: str, document: Document, generation: str, number: int, text: str) -> dict[str, Any]:
    """What filters may use: strings, numbers, booleans and lists of strings; all else as JSON text, nothing null.

    Raises:
        PermanentError: it is longer than Pinecone takes.
    """
    found = {key: plain for key, value in document.metadata.items() if (plain := _plain(value)) is not None}
    found |= {
        "collection": collection,
        "document": document.id,
        "title": document.title,
        "principals": list(document.principals) or ["*"],  # filters cannot ask for what is absent
        "generation": generation,
        "chunk": number,
        "text": text,
    }
    if document.uri:
        found["uri"] = document.uri
    size = len(json.dumps(found, ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise PermanentError(f"{document.id}: its metadata has {size} bytes, and Pinecone takes {MAX_METADATA_BYTES}.")
    return found


def mark(id: str, digest: str | None, order: int) -> dict[str, Any]:
    """What is remembered of a document. Numbers are floating there, and an order is longer than that."""
    return {"document": id, "digest": digest or "", "order": str(order), "removed": digest is None}


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value or None
    if value is None or (isinstance(value, Mapping) and not value):
        return None
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
