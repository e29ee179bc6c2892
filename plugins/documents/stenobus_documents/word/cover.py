"""Cover, header and footer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from docx.document import Document
from docx.section import _BaseHeaderFooter

from ..labels import Labels, labels
from ..markdown import link_target
from .build import Build
from .styles import room
from .xml import Marks, Xml, element, field, link, paragraph, parsed, run

#: The fields of :attr:`Labels.numbers`.
FIELD: Final = re.compile(r"(\{\w+\})")


def told(facts: Mapping[str, str]) -> list[tuple[str, str, str | None]]:
    """The facts of a front matter for people: name, value, and the address it links to."""
    words = labels(facts)
    return [_told(name, value, words) for name, value in facts.items() if name != "title"]


def method(facts: Mapping[str, str]) -> str:
    """How the document came to be, empty when nothing says so."""
    return labels(facts).methods.get(facts.get("method", ""), "")


def cover(build: Build, facts: Mapping[str, str]) -> list[Xml]:
    """Title and facts of the front matter."""
    made = [paragraph(build.styles["Title"], run(facts["title"]))]
    for name, value, target in told(facts):
        words = run(value, Marks(style=build.styles["Hyperlink"] if target else None))
        if target:
            words = link(words, relation=build.relation(build.document.part, target))
        content = run(name, Marks(style=build.styles["FactName"])) + run("\t") + words
        made.append(paragraph(build.styles["CoverFact"], content))
    return made


def running_titles(document: Document, styles: Mapping[str, str], title: str, facts: Mapping[str, str]) -> None:
    """The title above, how the document came to be and the page number below; nothing of it on a cover.

    A template's own header and footer stay as they are.
    """
    section = document.sections[0]
    theirs = _filled(section.header) or _filled(section.footer)
    if not theirs:
        section.different_first_page_header_footer = "title" in facts
    if not _filled(section.header):
        _fill(section.header, styles["Header"], run(title))
    if not _filled(section.footer):
        content = run(method(facts)) + run("\t") + _numbers(labels(facts).numbers)
        _fill(section.footer, styles["Footer"], content, tab=room(document)[0])


def _numbers(wording: str) -> Xml:
    fields = {"{page}": field("PAGE", run("1")), "{pages}": field("NUMPAGES", run("1"))}
    return "".join(fields.get(part) or run(part) for part in FIELD.split(wording) if part)


def _filled(part: _BaseHeaderFooter) -> bool:
    return not part.is_linked_to_previous and len(part._element.xpath(".//w:t|.//w:drawing|.//w:pict|.//w:fldChar")) > 0


def _fill(part: _BaseHeaderFooter, style: str, content: Xml, tab: int = 0) -> None:
    made = parsed("w:p", f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>{content}')
    if tab:
        tabs = element("w:tabs")
        tabs.append(element("w:tab", val="right", pos=tab))
        made.pPr.append(tabs)
    first = part.paragraphs[0]._p
    first.getparent().replace(first, made)


def _told(name: str, value: str, words: Labels) -> tuple[str, str, str | None]:
    shown = words.facts.get(name, name.replace("_", " ").capitalize())
    if name == "source" and "://" in value:
        return shown, unquote(value.rstrip("/").rpartition("/")[2]) or value, link_target(value)
    return shown, words.methods.get(value, value) if name == "method" else value, None
