"""What an extractor is given and what it makes. Plain dataclasses: the reading process starts in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Unreadable


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on one document."""

    #: Pages of a PDF, slides, or sheets.
    pages: int = 2000
    #: Rows of all tables together.
    rows: int = 100_000
    #: Characters of the text it becomes.
    characters: int = 5_000_000
    #: Bytes that an archive (DOCX, PPTX, XLSX) holds when it is unpacked.
    unpacked: int = 512 * 1024 * 1024
    #: Parts of an archive, or of an e-mail.
    parts: int = 10_000
    #: How often larger than itself a part of an archive may become.
    ratio: int = 300
    #: Levels that e-mails may lie in each other.
    depth: int = 8

    def pages_read(self, count: int) -> None:
        """Raises Unreadable when there are too many pages."""
        if count > self.pages:
            raise Unreadable("too_large", f"has {count} pages, and at most {self.pages} are read; raise max_pages.")

    def rows_read(self, count: int) -> None:
        """Raises Unreadable when there are too many rows."""
        if count > self.rows:
            raise Unreadable("too_large", f"has more than {self.rows} rows; raise max_rows.")


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document as text.

    Dates are those that the file itself tells, ISO 8601; None when it does not.
    """

    markdown: str
    title: str | None = None
    author: str | None = None
    created: str | None = None
    modified: str | None = None
    #: Pages, slides or sheets.
    pages: int | None = None
    language: str | None = None
    warnings: tuple[str, ...] = ()
