"""The few WordprocessingML elements that everything here is made of, as text.

The body is written as text and parsed once: making an element at a time took most of the time of a long document.
Children of properties are in the order of the schema.
"""

from __future__ import annotations

from functools import cache
from html import escape as escaped
from typing import Any, Final, NamedTuple

from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn

#: lxml elements with python-docx's own classes; neither library types them.
Element = Any
#: Well-formed WordprocessingML without namespace declarations.
Xml = str

BREAK: Final[Xml] = "<w:r><w:br/></w:r>"
_OPEN: Final = '<w:t xml:space="preserve">'
_EMPTY: Final = f"{_OPEN}</w:t>"


class Marks(NamedTuple):
    """How a run looks. ``style`` is a style's id."""

    bold: bool = False
    italic: bool = False
    strike: bool = False
    style: str | None = None
    color: str | None = None


PLAIN: Final = Marks()


def parsed(tag: str, content: Xml) -> Element:
    """An element with this content, of python-docx's classes."""
    return parse_xml(f"<{tag} {nsdecls('w', 'r', 'wp', 'a', 'pic')}>{content}</{tag}>")


def element(tag: str, **attributes: str | int) -> Element:
    """An lxml element such as ``element("w:shd", val="clear")``; attributes are in the namespace ``w``."""
    made = OxmlElement(tag)
    for name, value in attributes.items():
        made.set(qn(f"w:{name}"), str(value))
    return made


def paragraph(
    style: str | None = None,
    content: Xml = "",
    *,
    page: bool = False,
    num: tuple[int, int] | None = None,
    left: int = 0,
    hanging: int = 0,
    side: str = "",
    keep: bool = False,
    whole: bool = False,
) -> Xml:
    """A paragraph.

    Args:
        style: a style's id.
        page: it begins a page.
        num: numId and level of the list it is an item of.
        left: indent in twentieths of a point; ``hanging`` is how far its first line reaches out of it.
        side: center or right, where it is not the left one.
        keep: it stays on the page of the next one.
        whole: its lines stay on one page.
    """
    properties = f'<w:pStyle w:val="{style}"/>' if style else ""
    if keep:
        properties += "<w:keepNext/>"
    if whole:
        properties += "<w:keepLines/>"
    if page:
        properties += "<w:pageBreakBefore/>"
    if num:
        properties += f'<w:numPr><w:ilvl w:val="{num[1]}"/><w:numId w:val="{num[0]}"/></w:numPr>'
    if left:
        properties += f'<w:ind w:left="{left}"' + (f' w:hanging="{hanging}"/>' if hanging else "/>")
    if side:
        properties += f'<w:jc w:val="{side}"/>'
    return f"<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>" if properties else f"<w:p>{content}</w:p>"


def run(text: str, marks: Marks = PLAIN) -> Xml:
    """A run; line feeds become line breaks, tabs become tabs."""
    words = _OPEN + escaped(text, quote=False) + "</w:t>"
    if "\n" in text or "\t" in text:
        words = words.replace("\n", f"</w:t><w:br/>{_OPEN}").replace("\t", f"</w:t><w:tab/>{_OPEN}")
        words = words.replace(_EMPTY, "")
    return f"<w:r>{properties(marks)}{words}</w:r>"


@cache
def properties(marks: Marks) -> Xml:
    """The properties of a run."""
    made = f'<w:rStyle w:val="{marks.style}"/>' if marks.style else ""
    for tag, wanted in (("b", marks.bold), ("i", marks.italic), ("strike", marks.strike)):
        made += f"<w:{tag}/>" if wanted else ""
    made += f'<w:color w:val="{marks.color}"/>' if marks.color else ""
    return f"<w:rPr>{made}</w:rPr>" if made else ""


def link(content: Xml, *, anchor: str = "", relation: str = "") -> Xml:
    """A hyperlink to a bookmark, or to the target of a relationship."""
    where = f'w:anchor="{escaped(anchor)}"' if anchor else f'r:id="{relation}"'
    return f'<w:hyperlink {where} w:history="1">{content}</w:hyperlink>'


def field(instruction: str, shown: Xml) -> Xml:
    """A field such as PAGE, with the runs that are shown until it is computed."""
    return f"{field_begin(instruction)}{shown}{FIELD_END}"


def field_begin(instruction: str) -> Xml:
    """The beginning of a field that may span paragraphs; what it shows comes next, then :data:`FIELD_END`."""
    return (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
        f'<w:r><w:instrText xml:space="preserve"> {escaped(instruction, quote=False)} </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    )


FIELD_END: Final[Xml] = '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
