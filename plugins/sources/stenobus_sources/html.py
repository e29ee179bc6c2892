"""HTML as plain text with the marks of Markdown that help a reader: headings, lists, links.

A scanner of our own: html.parser takes quadratic time for tags that are never closed (CPython's issue 135462).
"""

from __future__ import annotations

import re
from html import unescape
from typing import Final

_HIDDEN: Final = {"script", "style", "noscript", "template", "iframe", "svg", "head"}
_BLOCKS: Final = {
    "address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figure", "footer", "header", "hr", "main",
    "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
}  # fmt: skip
#: Possessive and bounded, so that no text makes it try the same characters again and again.
_TAG: Final = re.compile(
    r"""<(?:(?P<comment>!--)|[!?][^<>]*+>"""
    r"""|(?P<end>/)?(?P<tag>[a-zA-Z][a-zA-Z0-9:-]{0,30})"""
    r"""(?P<attributes>(?:[^<>"']++|"[^"]{0,2000}+"|'[^']{0,2000}+')*+)>)"""
)
_ATTRIBUTE: Final = {
    name: re.compile(rf"""(?<![\w-]){name}\s{{0,9}}=\s{{0,9}}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
    for name in ("href", "alt")
}
_CLOSING: Final = {tag: re.compile(rf"</{tag}[^<>]*>", re.IGNORECASE) for tag in _HIDDEN}
#: What page builders leave in the text: [vc_row el_class="x"], [/et_pb_section].
_SHORTCODE: Final = re.compile(r"\[/?[a-z][a-z0-9]*[_-][a-z0-9_-]*(?:\s[^\[\]]{0,2000})?/?\]", re.IGNORECASE)
#: More digits than any character has; int() refuses thousands of them.
_NO_CHARACTER: Final = re.compile(r"&#\d{8,}+;?")
_SPACE: Final = re.compile(r"[ \t\r\f\v\u00a0\u200b\ufeff]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
#: A heading or an item without words.
_EMPTY: Final = re.compile(r"^(?:#+|-)$", re.MULTILINE)
_MARK: Final = re.compile(r"^(?:#+|-) ", re.MULTILINE)


def to_text(markup: str) -> str:
    """The text of HTML, in paragraphs with one empty line between them. Scripts and styles are left out."""
    markup = _NO_CHARACTER.sub("", _SHORTCODE.sub(" ", _CONTROL.sub("", markup)))
    parts: list[str] = []
    links: list[str] = []
    place = 0
    while (found := _TAG.search(markup, place)) is not None:
        parts.append(_words(markup[place : found.start()]))
        place = found.end()
        tag = (found["tag"] or "").lower()
        if found["comment"]:
            end = markup.find("-->", place)
            place = end + 3 if end >= 0 else len(markup)
        elif tag in _HIDDEN and not found["end"]:
            closing = _CLOSING[tag].search(markup, place)
            place = closing.end() if closing else len(markup)
        elif found["end"]:
            parts.append(_closed(tag, links))
        elif tag:
            parts.append(_opened(tag, found["attributes"], links))
    parts.append(_words(markup[place:]))
    return tidy(_EMPTY.sub("", tidy("".join(parts))))


def one_line(markup: str) -> str:
    """The text of a title: no marks, no line ends."""
    return " ".join(_MARK.sub("", to_text(markup)).split())


def tidy(text: str) -> str:
    """Single blanks, no blanks around line ends, at most one empty line."""
    rows = [_SPACE.sub(" ", row).strip() for row in _CONTROL.sub("", text).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip()


def _words(text: str) -> str:
    return unescape(text).replace("\n", " ")


def _opened(tag: str, attributes: str, links: list[str]) -> str:
    if _is_heading(tag):
        return f"\n\n{'#' * max(2, int(tag[1]))} "
    if tag == "img":
        alt = _attribute("alt", attributes)
        return f" {alt} " if alt else ""
    if tag == "a":
        target = _attribute("href", attributes)
        links[:] = [target] if target.startswith(("http://", "https://", "mailto:", "tel:")) else []
        return ""
    return {"li": "\n- ", "br": "\n", "td": " ", "th": " "}.get(tag, "\n\n" if tag in _BLOCKS else "")


def _closed(tag: str, links: list[str]) -> str:
    if tag == "a" and links:
        return f" ({links.pop().removeprefix('mailto:').removeprefix('tel:')})"
    return "\n\n" if tag in _BLOCKS or _is_heading(tag) else ""


def _is_heading(tag: str) -> bool:
    return len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"


def _attribute(name: str, attributes: str) -> str:
    found = _ATTRIBUTE[name].search(attributes)
    return _words(next((value for value in found.groups() if value), "")).strip() if found else ""
