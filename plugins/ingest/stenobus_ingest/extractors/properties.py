"""What Office files say about themselves: ``docProps/core.xml`` and ``docProps/app.xml``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from lxml import etree  # type: ignore[import-untyped]

from ..extracted import Extracted

_CORE: Final = {
    "title": "{http://purl.org/dc/elements/1.1/}title",
    "author": "{http://purl.org/dc/elements/1.1/}creator",
    "created": "{http://purl.org/dc/terms/}created",
    "modified": "{http://purl.org/dc/terms/}modified",
    "language": "{http://purl.org/dc/elements/1.1/}language",
}
_PAGES: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/extended-properties}Pages"
#: Characters of one property that are taken.
_LONGEST: Final = 500


def told(path: Path, markdown: str, pages: int | None = None) -> Extracted:
    """The text of an archive that has been checked, with what the file says about itself.

    Damaged properties are none: the text is what counts.

    Args:
        pages: slides or sheets; what the file says when None.
    """
    with zipfile.ZipFile(path) as archive:
        core, app = _part(archive, "docProps/core.xml"), _part(archive, "docProps/app.xml")

    def said(name: str) -> str | None:
        text = core.findtext(_CORE[name]) if core is not None else None
        return " ".join(text.split())[:_LONGEST] or None if text else None

    counted = app.findtext(_PAGES) if app is not None else None
    if pages is None and counted and counted.isdecimal() and len(counted) < 7:
        pages = int(counted)
    return Extracted(
        markdown=markdown,
        title=said("title"),
        author=said("author"),
        created=said("created"),
        modified=said("modified"),
        pages=pages,
        language=said("language"),
    )


def _part(archive: zipfile.ZipFile, name: str) -> etree._Element | None:
    try:
        return etree.fromstring(archive.read(name), _parser())
    except (KeyError, etree.XMLSyntaxError):
        return None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
