"""The few WordprocessingML elements that everything here is made of.

Elements are made directly where python-docx has no call for them, and because its lookups by name cost most of the
time of a long document.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from docx.oxml import OxmlElement
from docx.oxml.ns import qn

#: lxml elements with python-docx's own classes; neither library types them.
Element = Any


@dataclass(frozen=True, slots=True)
class Marks:
    """How a run looks."""

    bold: bool = False
    italic: bool = False
    strike: bool = False
    style: str | None = None
    color: str | None = None

    def with_(self, **changes: Any) -> Marks:
        """These marks and more."""
        return replace(self, **changes)


PLAIN = Marks()


def element(tag: str, **attributes: str | int) -> Element:
    """An element such as ``element("w:shd", val="clear")``; attributes are in the namespace ``w``."""
    made = OxmlElement(tag)
    for name, value in attributes.items():
        made.set(qn(f"w:{name}"), str(value))
    return made


def paragraph(style: str | None = None) -> Element:
    """An empty paragraph of a style, by its id."""
    made = OxmlElement("w:p")
    if style:
        made.get_or_add_pPr().get_or_add_pStyle().val = style
    return made


def indent(made: Element, left: int, hanging: int = 0) -> None:
    """Indent a paragraph, in twentieths of a point."""
    ind = made.get_or_add_pPr().get_or_add_ind()
    ind.set(qn("w:left"), str(left))
    if hanging:
        ind.set(qn("w:hanging"), str(hanging))


def run(text: str, marks: Marks = PLAIN) -> Element:
    """A run; line feeds become line breaks, tabs become tabs."""
    made = OxmlElement("w:r")
    properties = _properties(marks)
    if len(properties):
        made.append(properties)
    for number, line in enumerate(text.split("\n")):
        if number:
            made.append(OxmlElement("w:br"))
        for column, part in enumerate(line.split("\t")):
            if column:
                made.append(OxmlElement("w:tab"))
            if part:
                words = OxmlElement("w:t")
                words.text = part
                words.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
                made.append(words)
    return made


def field(instruction: str, shown: str, marks: Marks = PLAIN) -> list[Element]:
    """A field such as PAGE, with what is shown until it is computed."""
    runs = []
    for content in ("begin", instruction, "separate", shown, "end"):
        made = run(shown if content is shown else "", marks)
        if content in {"begin", "separate", "end"}:
            made.append(element("w:fldChar", fldCharType=content))
        elif content is instruction:
            code = OxmlElement("w:instrText")
            code.text = f" {instruction} "
            code.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
            made.append(code)
        runs.append(made)
    return runs


def _properties(marks: Marks) -> Element:
    made = OxmlElement("w:rPr")  # children in the order of the schema
    if marks.style:
        made.append(element("w:rStyle", val=marks.style))
    for tag, wanted in (("w:b", marks.bold), ("w:i", marks.italic), ("w:strike", marks.strike)):
        if wanted:
            made.append(OxmlElement(tag))
    if marks.color:
        made.append(element("w:color", val=marks.color))
    return made
