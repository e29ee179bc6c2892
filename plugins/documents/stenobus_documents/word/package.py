"""The file itself: lean, with properties, and the same bytes for the same content."""

from __future__ import annotations

import io
import zipfile
from typing import Final

from docx.document import Document
from docx.oxml.ns import qn

#: The first moment that a zip file can name.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNWANTED: Final = (
    "http://schemas.openxmlformats.org/package/2006/relationships/metadata/thumbnail",
    "http://schemas.microsoft.com/office/2007/relationships/stylesWithEffects",
)


def describe(document: Document, *, title: str, author: str, subject: str, language: str) -> None:
    """Set the document's properties. Times are left out: the same content has to be the same file."""
    properties = document.core_properties
    properties.title, properties.author, properties.last_modified_by = title[:255], author[:255], author[:255]
    properties.subject, properties.language, properties.comments = subject[:255], language[:255], ""
    properties.keywords, properties.revision = "", 1
    element = properties._element
    for tag in ("dcterms:created", "dcterms:modified"):
        for child in element.findall(qn(tag)):
            element.remove(child)


def pack(document: Document) -> bytes:
    """The DOCX: entries sorted, every one at the same fixed time."""
    for source in (document.part.package, document.part):
        for key in [key for key, rel in source.rels.items() if rel.reltype in _UNWANTED]:
            del source.rels[key]
    raw = io.BytesIO()
    document.save(raw)
    return repacked(raw.getvalue())


def repacked(data: bytes, changes: dict[str, bytes] | None = None) -> bytes:
    """A DOCX with some of its files changed, entries sorted, every one at the same fixed time."""
    changes = changes or {}
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted({*old.namelist()}, key=lambda name: (name != "[Content_Types].xml", name)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o600 << 16
            new.writestr(entry, changes.get(name) or old.read(name))
    return packed.getvalue()
