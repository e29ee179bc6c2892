"""The formats that are read: what they are called, how their first bytes look, and who reads them.

Another distribution adds a format, or takes the place of one, by an entry point in the group ``stenobus.extractors``
whose value is a :class:`Format`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from .errors import Unreadable
from .extracted import Bounds, Extracted

#: Entry point group of further formats.
GROUP: Final = "stenobus.extractors"

Extract = Callable[[Path, Bounds], Extracted]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of document.

    Args:
        name: short and lower-case, such as ``docx``.
        label: what people call it.
        family: what its bytes look like: ``pdf``, ``ole``, ``rtf``, ``text``, or a part that its ZIP archive has, such
            as ``word/``.
        suffixes: ends of file names, without the dot.
        types: media types.
        extractor: ``module:function``, a function from the file and the bounds to what it says; it is imported in
            the process that reads one document, and raises Unreadable.
        needs: the package that it imports, for the doctor.
        extra: the extra that brings the package.
    """

    name: str
    label: str
    family: str
    suffixes: Sequence[str]
    types: Sequence[str]
    extractor: str
    needs: str | None = None
    extra: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the package it needs is here."""
        return self.needs is None or find_spec(self.needs) is not None

    def extract(self, path: Path, bounds: Bounds) -> Extracted:
        """Read a document.

        Raises:
            Unreadable: it cannot be read, or the package that reads it is missing.
        """
        if not self.is_installed:
            raise Unreadable("unsupported", f"needs an extra: pip install 'stenobus-ingest[{self.extra}]'.")
        module, _, function = self.extractor.partition(":")
        extract: Extract = getattr(import_module(module), function)
        return extract(path, bounds)


_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_OURS: Final = "stenobus_ingest.extractors"

BUILT_IN: Final = (
    Format("pdf", "PDF", "pdf", ("pdf",), ("application/pdf",), f"{_OURS}.pdf:extract", "pypdfium2", "pdf"),
    Format(
        "docx",
        "Word document (DOCX)",
        "word/",
        ("docx", "docm"),
        (f"{_OFFICE}.wordprocessingml.document",),
        f"{_OURS}.docx:extract",
        "mammoth",
        "docx",
    ),
    Format(
        "pptx",
        "PowerPoint presentation (PPTX)",
        "ppt/",
        ("pptx", "pptm"),
        (f"{_OFFICE}.presentationml.presentation",),
        f"{_OURS}.pptx:extract",
        "pptx",
        "pptx",
    ),
    Format(
        "xlsx",
        "Excel workbook (XLSX)",
        "xl/",
        ("xlsx", "xlsm"),
        (f"{_OFFICE}.spreadsheetml.sheet",),
        f"{_OURS}.xlsx:extract",
        "openpyxl",
        "xlsx",
    ),
    Format(
        "html",
        "HTML page",
        "text",
        ("html", "htm", "xhtml"),
        ("text/html", "application/xhtml+xml"),
        f"{_OURS}.html:extract",
    ),
    Format("eml", "e-mail", "text", ("eml", "mht", "mhtml"), ("message/rfc822",), f"{_OURS}.mail:extract"),
    Format(
        "csv",
        "table (CSV)",
        "text",
        ("csv", "tsv"),
        ("text/csv", "text/tab-separated-values"),
        f"{_OURS}.table:extract",
    ),
    Format("md", "Markdown", "text", ("md", "markdown"), ("text/markdown",), f"{_OURS}.text:extract"),
    Format("text", "plain text", "text", ("txt", "text", "log"), ("text/plain",), f"{_OURS}.text:extract"),
)


def others() -> str:
    """The extractors of other distributions, with their versions, and none of them imported."""
    points = entry_points(group=GROUP)
    return " ".join(sorted(f"{each.name}={each.value}@{each.dist.version if each.dist else ''}" for each in points))


def formats() -> Mapping[str, Format]:
    """Every format by name: ours, and those of other distributions, which win.

    Raises:
        TypeError: an entry point is no Format.
    """
    known = {built_in.name: built_in for built_in in BUILT_IN}
    for point in entry_points(group=GROUP):
        added = point.load()
        if not isinstance(added, Format):
            raise TypeError(f"The entry point {point.value} of {GROUP} is no Format.")
        known[added.name] = added
    return known
