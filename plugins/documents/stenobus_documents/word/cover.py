"""Cover, contents, header and footer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.oxml.ns import qn

from ..markdown import link_target
from .build import Build, Heading
from .xml import Element, Marks, element, field, paragraph, run

#: How the facts of a front matter are called on the cover; others keep their own name.
_NAMES = {"source": "Recording", "transcript": "Transcript by", "generator": "Produced by"}
_METHODS = {
    "extractive": "Extractive: verbatim from the recording, no language model",
    "model": "Written by a language model from verified quotes",
}


def cover(build: Build, out: Callable[[Element], None], facts: Mapping[str, str]) -> None:
    """Title and facts of the front matter."""
    title = paragraph("Title")
    title.append(run(facts["title"]))
    out(title)
    for name, value in facts.items():
        if name == "title":
            continue
        made = paragraph("CoverFact")
        made.append(run(_NAMES.get(name, name.replace("_", " ").capitalize()), Marks(style="FactName")))
        made.append(run("\t"))
        made.append(_value(build, name, value))
        out(made)


def contents(out: Callable[[Element], None], headings: Sequence[Heading]) -> None:
    """A table of contents that is complete as it is: links without page numbers, which only Word could count."""
    entries = [heading for heading in headings if heading.level <= 2]
    if len(entries) < 3:
        return
    title = paragraph("ContentsHeading")
    title.append(run("Contents"))
    out(title)
    begin, instruction, separate, _, end = field(r'TOC \o "1-2" \n \h \z \u', "")
    for number, heading in enumerate(entries):
        made = paragraph(f"TOC{heading.level}")
        if number == 0:
            made.extend((begin, instruction, separate))
        link = element("w:hyperlink", anchor=heading.bookmark, history=1)
        link.append(run(heading.text))
        made.append(link)
        if number == len(entries) - 1:
            made.append(end)
        out(made)


def running_titles(build: Build, title: str, method: str, *, first_differs: bool) -> None:
    """The title above, how the document came to be and the page number below; nothing of it on a cover."""
    section = build.document.sections[0]
    section.different_first_page_header_footer = first_differs
    header = section.header.paragraphs[0]._p
    header.append(run(title))
    footer = section.footer.paragraphs[0]._p
    properties = footer.get_or_add_pPr()
    tabs = element("w:tabs")
    tabs.append(element("w:tab", val="right", pos=build.width))
    properties.append(tabs)
    footer.append(run(_METHODS.get(method, "")))
    footer.append(run("\tPage "))
    footer.extend(field("PAGE", "1"))
    footer.append(run(" of "))
    footer.extend(field("NUMPAGES", "1"))


def _value(build: Build, name: str, value: str) -> Element:
    if name == "source" and "://" in value:
        shown = unquote(value.rstrip("/").rpartition("/")[2]) or value
        if target := link_target(value):
            link = element("w:hyperlink", history=1)
            link.set(qn("r:id"), build.document.part.relate_to(target, RT.HYPERLINK, is_external=True))
            link.append(run(shown, Marks(style="Hyperlink")))
            return link
        return run(value)
    return run(_METHODS.get(value, value) if name == "method" else value)
