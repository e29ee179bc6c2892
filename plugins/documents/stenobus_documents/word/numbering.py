"""Lists that count for themselves: every list is a ``w:num`` of its own, so that each begins anew."""

from __future__ import annotations

from docx.document import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn

from .xml import Element, element

#: Indent of one level, and how far the number hangs into it, in twentieths of a point.
STEP = 397
#: Word knows nine levels.
LEVELS = 9

_BULLETS = ("\u2022", "\u2013", "\u25aa")
_FORMATS = ("decimal", "lowerLetter", "lowerRoman")


class Lists:
    """The numbering part of one document."""

    def __init__(self, document: Document) -> None:
        self._root = document.part.numbering_part.element
        for old in list(self._root):
            self._root.remove(old)
        self._root.append(_abstract(0, ordered=False))
        self._root.append(_abstract(1, ordered=True))
        self._count = 0

    def start(self, *, ordered: bool, level: int, first: int = 1) -> int:
        """A fresh list at a level (0 is the outermost) that begins with ``first``; its numId."""
        self._count += 1
        num = element("w:num", numId=self._count)
        num.append(element("w:abstractNumId", val=int(ordered)))
        if ordered:
            override = element("w:lvlOverride", ilvl=level)
            override.append(element("w:startOverride", val=first))
            num.append(override)
        self._root.append(num)
        return self._count


def number(paragraph: Element, num: int, level: int) -> None:
    """Make a paragraph an item of a list."""
    properties = paragraph.get_or_add_pPr().get_or_add_numPr()
    properties.get_or_add_ilvl().set(qn("w:val"), str(level))
    properties.get_or_add_numId().set(qn("w:val"), str(num))


def _abstract(number: int, *, ordered: bool) -> Element:
    levels = "".join(_level(level, ordered=ordered) for level in range(LEVELS))
    return parse_xml(
        f'<w:abstractNum {nsdecls("w")} w:abstractNumId="{number}">'
        f'<w:multiLevelType w:val="hybridMultilevel"/>{levels}</w:abstractNum>'
    )


def _level(level: int, *, ordered: bool) -> str:
    kind = _FORMATS[level % 3] if ordered else "bullet"
    text = f"%{level + 1}." if ordered else _BULLETS[level % 3]
    left = STEP * (level + 1)
    return (
        f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/>'
        f'<w:lvlJc w:val="left"/><w:pPr><w:ind w:left="{left}" w:hanging="{STEP}"/></w:pPr></w:lvl>'
    )
