"""Real footnotes: python-docx has no part for them."""

from __future__ import annotations

from typing import Final

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.opc.packuri import PackURI
from docx.opc.part import XmlPart
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from .xml import Element, Marks, element, run

_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
_REFERENCE: Final = Marks(style="FootnoteReference")


class Footnotes:
    """The footnotes of one document; the part comes into being with the first one."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._part: XmlPart | None = None
        self._count = 0

    @property
    def part(self) -> XmlPart:
        """The part, for the relationships of links inside footnotes."""
        if self._part is None:
            self._part = XmlPart(
                PackURI("/word/footnotes.xml"), _TYPE, parse_xml(_separators()), self._document.part.package
            )
            self._document.part.relate_to(self._part, RT.FOOTNOTES)
        return self._part

    def add(self, content: list[Element]) -> Element:
        """Store the paragraphs of a footnote; the run that refers to it."""
        self._count += 1
        mark = run("", _REFERENCE)
        mark.append(element("w:footnoteRef"))
        first = content[0]
        first.insert(1 if first.pPr is not None else 0, mark)
        mark.addnext(run(" "))
        note = element("w:footnote", id=self._count)
        note.extend(content)
        self.part.element.append(note)
        reference = run("", _REFERENCE)
        reference.append(element("w:footnoteReference", id=self._count))
        return reference


def _separators() -> str:
    """The two entries Word expects to find: the line above footnotes, and the one above their continuation."""
    entries = "".join(
        f'<w:footnote w:type="{kind}" w:id="{number}"><w:p><w:r><w:{kind}/></w:r></w:p></w:footnote>'
        for number, kind in ((-1, "separator"), (0, "continuationSeparator"))
    )
    return f"<w:footnotes {nsdecls('w', 'r')}>{entries}</w:footnotes>"
