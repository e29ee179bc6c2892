"""Lists that count for themselves: every list is a ``w:num`` of its own, so that each begins anew."""

from __future__ import annotations

from typing import Final

from docx.document import Document
from docx.oxml.ns import qn

from .xml import Xml, parsed

#: Indent of one level, and how far the number hangs into it, in twentieths of a point.
STEP: Final = 397
#: Word knows nine levels.
LEVELS: Final = 9

_BULLETS = ("\u2022", "\u2013", "\u25aa")
_FORMATS = ("decimal", "lowerLetter", "lowerRoman")


class Lists:
    """The numbering part of one document."""

    def __init__(self, document: Document) -> None:
        self._root = document.part.numbering_part.element
        self._abstract = _free(self._root, "w:abstractNum", "w:abstractNumId")
        self._last = _free(self._root, "w:num", "w:numId")
        self._nums: list[Xml] = []

    def start(self, *, ordered: bool, level: int, first: int = 1) -> int:
        """A fresh list at a level (0 is the outermost) that begins with ``first``; its numId."""
        self._last += 1
        override = (
            f'<w:lvlOverride w:ilvl="{level}"><w:startOverride w:val="{first}"/></w:lvlOverride>' if ordered else ""
        )
        self._nums.append(
            f'<w:num w:numId="{self._last}"><w:abstractNumId w:val="{self._abstract + 1 + ordered}"/>{override}</w:num>'
        )
        return self._last

    def finish(self) -> None:
        """Put the lists into the part: definitions before what uses them, as the schema wants it."""
        if not self._nums:
            return
        made = parsed(
            "w:numbering",
            _abstract(self._abstract + 1, ordered=False)
            + _abstract(self._abstract + 2, ordered=True)
            + "".join(self._nums),
        )
        abstracts, nums = made[:2], made[2:]
        following = next((child for child in self._root if child.tag in {qn("w:num"), qn("w:numIdMacAtCleanup")}), None)
        for child in abstracts:
            self._root.append(child) if following is None else following.addprevious(child)
        cleanup = self._root.find(qn("w:numIdMacAtCleanup"))
        for child in nums:
            self._root.append(child) if cleanup is None else cleanup.addprevious(child)


def _free(root: object, tag: str, attribute: str) -> int:
    """The highest number in use, 0 when there is none."""
    return max((int(child.get(qn(attribute))) for child in root.findall(qn(tag))), default=0)  # type: ignore[attr-defined]


def _abstract(number: int, *, ordered: bool) -> Xml:
    levels = "".join(_level(level, ordered=ordered) for level in range(LEVELS))
    kind = '<w:multiLevelType w:val="hybridMultilevel"/>'
    return f'<w:abstractNum w:abstractNumId="{number}">{kind}{levels}</w:abstractNum>'


def _level(level: int, *, ordered: bool) -> Xml:
    kind = _FORMATS[level % 3] if ordered else "bullet"
    text = f"%{level + 1}." if ordered else _BULLETS[level % 3]
    left = STEP * (level + 1)
    return (
        f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/>'
        f'<w:lvlJc w:val="left"/><w:pPr><w:ind w:left="{left}" w:hanging="{STEP}"/></w:pPr></w:lvl>'
    )
