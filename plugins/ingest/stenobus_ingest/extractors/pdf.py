"""PDF files, by PDFium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pypdfium2 as pdfium
from pypdfium2 import raw

from ..errors import Unreadable
from ..extracted import Bounds, Extracted

_DATE: Final = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?")
#: A word that the end of a line cut in two; PDFium writes such a hyphen as U+0002.
_HYPHEN: Final = re.compile(r"(?<=[^\W\d_])(?:[-\u00ad\ufffe]\n|\x02\s*)(?=[a-zà-öø-ÿ])")


def extract(path: Path, bounds: Bounds) -> Extracted:
    """The text of every page, under a heading with its number.

    Raises:
        Unreadable: it needs a password, is damaged, has too many pages, or holds pictures only.
    """
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise Unreadable("encrypted", "is protected by a password; save it without one.") from error
        raise Unreadable("damaged", "is damaged: it cannot be opened as a PDF; upload it again.") from error
    bounds.pages_read(len(document))
    pages, damaged, characters = [], 0, 0
    for number in range(len(document)):
        try:
            page = _text(document[number])
        except pdfium.PdfiumError:
            damaged += 1
            continue
        characters += len(page)
        if characters > bounds.characters:
            raise Unreadable("too_large", f"has more than {bounds.characters} characters; raise max_characters.")
        if page:
            pages.append(f"## Page {number + 1}\n\n{page}")
    if not pages:
        if damaged:
            raise Unreadable("damaged", f"is damaged: none of its {len(document)} pages can be read.")
        raise Unreadable("empty", "holds no text, only pictures; it needs text recognition (OCR) first.")
    told = {name.lower(): str(value) for name, value in document.get_metadata_dict(skip_empty=True).items()}
    return Extracted(
        markdown="\n\n".join(pages),
        title=told.get("title"),
        author=told.get("author"),
        created=_date(told.get("creationdate")),
        modified=_date(told.get("moddate")),
        pages=len(document),
        warnings=(f"{damaged} of {len(document)} pages are damaged and left out.",) if damaged else (),
    )


def _text(page: Any) -> str:
    text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
    joined = _HYPHEN.sub("", text).replace("\x02", "-")
    return "\n".join(line.rstrip() for line in joined.splitlines()).strip()


def _date(written: str | None) -> str | None:
    """ISO 8601 of what PDF writes as ``D:20260131120000+01'00'``; without the time where it has none."""
    found = _DATE.match(written or "")
    if found is None:
        return None
    year, month, day, hour, minute, second = (part or "" for part in found.groups())
    date = "-".join(part for part in (year, month, day) if part)
    return f"{date}T{hour}:{minute}:{second or '00'}" if day and minute else date
