"""HTML into Markdown."""

from __future__ import annotations

import re
from typing import Any, Final

from bs4 import BeautifulSoup, Comment
from markdownify import MarkdownConverter

#: Elements that nobody reads.
_SILENT: Final = ("script", "style", "noscript", "template", "svg", "iframe", "object", "embed", "form", "input")
_HIDDEN: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_GAPS: Final = re.compile(r"\n{3,}")
#: Levels that elements may be nested: the converter goes down by recursion.
DEPTH: Final = 200


class _Converter(MarkdownConverter):
    """ATX headings, dashes for bullets, images by their alternative text."""

    def __init__(self) -> None:
        super().__init__(
            heading_style="ATX",
            bullets="-",
            escape_underscores=False,
            escape_asterisks=False,
            table_infer_header=True,
        )

    def convert_img(self, element: Any, text: str, *args: Any, **kwargs: Any) -> str:
        """The words that stand for an image."""
        return str(element.get("alt") or "")


def soup(html: str | bytes) -> BeautifulSoup:
    """A page without what nobody reads."""
    found = BeautifulSoup(html, "lxml")
    for element in found(list(_SILENT)):
        element.decompose()
    for comment in found.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for element in found.find_all(style=_HIDDEN):
        element.decompose()
    for element in found.find_all(hidden=True):
        element.decompose()
    return found


def markdown(html: str | bytes | BeautifulSoup) -> str:
    """The page's text as Markdown, without its head."""
    page = html if isinstance(html, BeautifulSoup) else soup(html)
    if page.head is not None:
        page.head.decompose()
    text = _Converter().convert_soup(page)
    lines = (line.rstrip() for line in str(text).splitlines())
    return _GAPS.sub("\n\n", "\n".join(lines)).strip()
