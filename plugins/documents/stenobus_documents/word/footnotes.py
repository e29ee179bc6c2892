"""Real footnotes: python-docx has no part for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.opc.packuri import PackURI
from docx.opc.part import XmlPart
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from . import options
from .xml import Marks, Xml, paragraph, parsed, properties, run

_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"


class Footnotes:
    """The footnotes of one document; the part comes into being with the first one."""

    def __init__(self, document: Document, text: str, reference: str) -> None:
        self._document, self._text = document, text
        self._part: XmlPart | None = None
        self._mark = properties(Marks(style=reference))
        self._notes: list[Xml] = []

    @property
    def part(self) -> XmlPart:
        """The part, for the relationships of links inside footnotes."""
        if self._part is None:
            package = self._document.part.package
            old = [key for key, rel in self._document.part.rels.items() if rel.reltype == RT.FOOTNOTES]
            for key in old:  # a template's own, whose text is gone with its body
                del self._document.part.rels[key]
            self._part = XmlPart(PackURI("/word/footnotes.xml"), _TYPE, parse_xml(_separators()), package)
            self._document.part.relate_to(self._part, RT.FOOTNOTES)
        return self._part

    def add(self, blocks: Sequence[Xml]) -> Xml:
        """Take the runs of a footnote's paragraphs; the run that refers to it."""
        number = len(self._notes) + 1
        mark = f"<w:r>{self._mark}<w:footnoteRef/></w:r>{run(' ')}"
        content = "".join(paragraph(self._text, (mark if not n else "") + runs) for n, runs in enumerate(blocks))
        self._notes.append(f'<w:footnote w:id="{number}">{content}</w:footnote>')
        return f'<w:r>{self._mark}<w:footnoteReference w:id="{number}"/></w:r>'

    def finish(self) -> None:
        """Put what was taken into the part."""
        if self._notes:
            self.part.element.extend(list(parsed("w:footnotes", "".join(self._notes))))
            options.footnote_separators(self._document.settings.element)


def _separators() -> str:
    """The two entries Word expects to find: the line above footnotes, and the one above their continuation."""
    entries = "".join(
        f'<w:footnote w:type="{kind}" w:id="{number}"><w:p><w:r><w:{kind}/></w:r></w:p></w:footnote>'
        for number, kind in ((-1, "separator"), (0, "continuationSeparator"))
    )
    return f"<w:footnotes {nsdecls('w', 'r', 'wp', 'a', 'pic')}>{entries}</w:footnotes>"
