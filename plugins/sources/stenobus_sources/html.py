"""HTML as plain text with the marks of Markdown that help a reader: headings, lists, links."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Final

_HIDDEN: Final = {"script", "style", "noscript", "template", "iframe", "svg", "head"}
_BLOCKS: Final = {
    "address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figure", "footer", "header", "hr", "main",
    "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
}  # fmt: skip
_HEADING: Final = re.compile(r"h([1-6])")
#: What page builders leave in the text: [vc_row el_class="x"], [/et_pb_section].
_SHORTCODE: Final = re.compile(r"\[/?[a-z][a-z0-9]*[_-][a-z0-9_-]*(?:\s[^\[\]]{0,2000})?/?\]", re.IGNORECASE)
_SPACE: Final = re.compile(r"[ \t\r\f\v\u00a0\u200b\ufeff]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def to_text(markup: str) -> str:
    """The text of HTML, in paragraphs with one empty line between them. Scripts and styles are left out."""
    reader = _Reader()
    reader.feed(_SHORTCODE.sub(" ", _CONTROL.sub("", markup)))
    reader.close()
    return tidy("".join(reader.parts))


def one_line(markup: str) -> str:
    """The text of a title: no marks, no line ends."""
    return " ".join(unescape(to_text(markup)).replace("#", " ").split()) if markup else ""


def tidy(text: str) -> str:
    """Single blanks, no blanks around line ends, at most one empty line."""
    rows = [_SPACE.sub(" ", row).strip() for row in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip()


class _Reader(HTMLParser):
    """Keeps a counter, no stack: markup that is nested or broken without end costs nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: str | None = None
        self._depth = 0
        self._link: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            self._depth += tag == self._hidden
        elif tag in _HIDDEN:
            self._hidden, self._depth = tag, 1
        elif heading := _HEADING.fullmatch(tag):
            self.parts.append(f"\n\n{'#' * max(2, int(heading[1]))} ")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in {"td", "th"}:
            self.parts.append(" ")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag == "img":
            alt = dict(attrs).get("alt")
            self.parts.append(f" {alt} " if alt else "")
        elif tag == "a":
            target = dict(attrs).get("href") or ""
            self._link = target if target.startswith(("http://", "https://", "mailto:", "tel:")) else None

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._depth -= tag == self._hidden
            if self._depth <= 0:
                self._hidden = None
        elif _HEADING.fullmatch(tag) or tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag == "a" and self._link:
            if self._link not in self.parts[-1:]:
                self.parts.append(f" ({self._link.removeprefix('mailto:').removeprefix('tel:')})")
            self._link = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data.replace("\n", " "))
