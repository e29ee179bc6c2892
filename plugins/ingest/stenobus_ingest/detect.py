"""Which format a document has: its bytes, its media type and its name have to agree."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from .errors import Unreadable
from .formats import Format

_HEAD: Final = 8192
#: Types that say nothing about the format.
_GENERIC: Final = frozenset(
    {"", "application/octet-stream", "application/zip", "binary/octet-stream", "text/plain", "application/x-zip"}
)
_MAGIC: Final = {b"%PDF": "pdf", b"PK\3\4": "zip", b"PK\5\6": "zip", b"{\\rtf": "rtf"}
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: How the directory of an OLE file names the stream in which Office puts an encrypted document.
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_PAGE: Final = re.compile(rb"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
#: Families that are no archives.
_PLAIN: Final = frozenset({"pdf", "ole", "rtf", "text"})
#: Suffixes of documents that nothing here reads, and what to do about it.
_ADVICE: Final = {
    "doc": "save it as DOCX",
    "xls": "save it as XLSX",
    "ppt": "save it as PPTX",
    "msg": "save it as EML",
    "odt": "save it as DOCX",
    "ods": "save it as XLSX",
    "odp": "save it as PPTX",
    "rtf": "save it as DOCX",
    "epub": "save it as HTML",
}


def detect(path: Path, name: str, content_type: str | None, known: Mapping[str, Format]) -> Format:
    """The format of a document.

    Args:
        path: where its bytes are.
        name: what it is called.
        content_type: its media type, if somebody knows.
        known: formats by name.

    Raises:
        Unreadable: it is empty, its bytes belie its name or type, it is encrypted, or nobody reads its format.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise Unreadable("empty", "is empty; upload it again.")
    suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
    plain_type = (content_type or "").partition(";")[0].strip().lower()
    family = _family(path, head, known)
    by_type = None if plain_type in _GENERIC else _first(known, lambda each: plain_type in each.types)
    by_name = _first(known, lambda each: suffix in each.suffixes)
    if family == "encrypted":
        raise Unreadable("encrypted", "is protected by a password; save it without one and upload it again.")
    if by_type and by_name and by_type.name != by_name.name and by_type.family != by_name.family:
        raise Unreadable(
            "mismatch",
            f"is {by_name.label} by its name .{suffix}, but {by_type.label} by its media type {plain_type}; "
            "give it its right name and type.",
        )
    claimed = by_type or by_name
    if claimed is not None and claimed.family == family:
        return claimed
    found = _told(family, head, known)
    if claimed is not None:
        what = found.label if found else _LABELS.get(family, "something else")
        by = f"media type {plain_type}" if by_type else f"name .{suffix}"
        raise Unreadable(
            "mismatch", f"is {claimed.label} by its {by}, but {what} by its content; give it its right name and type."
        )
    if suffix in _ADVICE:
        raise Unreadable(
            "unsupported",
            f"is a .{suffix} file, which nothing installed here reads; {_ADVICE[suffix]}, or install an extractor.",
        )
    if found is None:
        raise Unreadable("unsupported", f"is {_LABELS.get(family, 'in a format')} that nothing installed here reads.")
    return found


_LABELS: Final = {
    "zip": "a ZIP archive",
    "ole": "an old Office file",
    "rtf": "RTF",
    "binary": "binary data",
    "text": "text",
}


def _first(known: Mapping[str, Format], test: object) -> Format | None:
    assert callable(test)
    return next((each for each in known.values() if test(each)), None)


def _family(path: Path, head: bytes, known: Mapping[str, Format]) -> str:
    """What the bytes look like."""
    # Readers of PDF accept some bytes before the mark, and so do people's scanners.
    if b"%PDF-" in head[:1024]:
        return "pdf"
    family = next((family for magic, family in _MAGIC.items() if head.startswith(magic)), None)
    if family == "zip":
        return _inside(path, known)
    if family:
        return family
    if head.startswith(_OLE):
        return "encrypted" if _ENCRYPTED in path.read_bytes() else "ole"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"
    return "binary" if _CONTROL.search(head) else "text"


def _inside(path: Path, known: Mapping[str, Format]) -> str:
    """What an archive is, by the parts it has."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Unreadable("damaged", "is damaged: its archive has no end; upload it again.") from error
    families = [each.family for each in known.values() if each.family not in _PLAIN]
    return next((family for family in families if any(name.startswith(family) for name in names)), "zip")


def _told(family: str, head: bytes, known: Mapping[str, Format]) -> Format | None:
    """The format that the bytes alone tell."""
    if family == "text":
        return known.get("html" if _PAGE.search(head) else "text")
    return _first(known, lambda each: each.family == family)
