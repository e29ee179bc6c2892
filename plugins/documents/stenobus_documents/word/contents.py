"""The table of contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Final

from docx.oxml.ns import qn
from lxml import etree  # type: ignore[import-untyped]

from ..headings import Heading
from ..labels import labels
from .package import repacked
from .validate import PARSER
from .xml import FIELD_END, Element, Xml, field, field_begin, link, paragraph, parsed, run

#: Headings down to this level are listed, or down to fewer levels when they are more than :data:`_MOST`.
_LEVELS: Final = 2
_MOST: Final = 80
#: Fewer entries than this many need no contents.
_FEWEST: Final = 3
_FIELD: Final = "TOC "


def listed(headings: Sequence[Heading | None]) -> list[Heading]:
    """The headings of the contents, none when there are too few to need them."""
    depth = _LEVELS
    while depth > 1 and sum(heading.level <= depth for heading in headings if heading) > _MOST:
        depth -= 1
    entries = [heading for heading in headings if heading and heading.level <= depth]
    return entries if len(entries) >= _FEWEST else []


def contents(styles: Mapping[str, str], facts: Mapping[str, str], headings: Sequence[Heading | None]) -> list[Xml]:
    """A table of contents that is complete as it is: links, with page numbers as soon as Word counts pages."""
    entries = listed(headings)
    if not entries:
        return []
    made = [paragraph(styles["ContentsHeading"], run(labels(facts).contents))]
    depth = max(heading.level for heading in entries)
    for number, heading in enumerate(entries):
        content = link(run(heading.text), anchor=heading.bookmark)
        if number == 0:
            content = field_begin(rf'{_FIELD}\o "1-{depth}" \h \z \u') + content
        if number == len(entries) - 1:
            content += FIELD_END
        made.append(paragraph(styles[f"TOC{heading.level}"], content))
    return made


def counted(docx: bytes) -> bytes:
    """The file with a field for the page of every entry, in place of the one for all.

    LibreOffice counts pages for the former and shows the latter as it finds it.
    """
    name = "word/document.xml"
    with zipfile.ZipFile(io.BytesIO(docx)) as package:
        tree = etree.fromstring(package.read(name), PARSER)
    begin = next((code for code in tree.iter(qn("w:instrText")) if (code.text or "").strip().startswith(_FIELD)), None)
    if begin is None:
        return docx
    entry = begin.getparent().getparent()
    while entry is not None:
        ends = _bare(entry)
        for hyperlink in entry.findall(qn("w:hyperlink")):
            page = run("\t") + field(rf"PAGEREF {hyperlink.get(qn('w:anchor'))} \h", run("1"))
            hyperlink.extend(list(parsed("w:hyperlink", page)))
        entry = None if ends else entry.getnext()
    return repacked(docx, {name: etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)})


def _bare(entry: Element) -> bool:
    """Take the marks of the field out of an entry; whether its end was among them."""
    marks = [mark for mark in entry.iter(qn("w:fldChar"), qn("w:instrText")) if mark.getparent().getparent() is entry]
    for mark in marks:
        entry.remove(mark.getparent())
    return any(mark.get(qn("w:fldCharType")) == "end" for mark in marks)
