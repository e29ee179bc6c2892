"""The whole way from Markdown text to the bytes of a DOCX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import docx
from markdown_it.tree import SyntaxTreeNode

from ..markdown import parse, read_front_matter
from ..text import printable
from . import cover, package, styles
from .blocks import Blocks
from .build import Build, Heading
from .footnotes import Footnotes
from .numbering import Lists
from .xml import Element, element, paragraph


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished file."""

    docx: bytes
    title: str
    #: What the Markdown has and the file has not.
    warnings: tuple[str, ...] = ()


def render(markdown: str, *, page: Literal["A4", "Letter"] = "A4", author: str = "Stenobus") -> Rendered:
    """Render a document.

    A front matter with a title becomes a cover with a table of contents. Raw HTML is shown as the text it is, and
    images as their descriptions: nothing is fetched. Equal arguments give equal bytes.
    """
    tree = parse(printable(markdown))
    facts = next((read_front_matter(node.content) for node in tree.children if node.type == "front_matter"), {})
    headings, anchors = _headings(tree, facts.get("title"))
    document = docx.Document()
    styles.install(document, facts.get("language", ""))
    build = Build(
        document=document,
        lists=Lists(document),
        footnotes=Footnotes(document),
        width=styles.page(document, page),
        notes={node.meta["id"]: node for node in tree.walk() if node.type == "footnote"},
        headings=headings,
        anchors=anchors,
    )
    shown = [heading for heading in headings if heading]
    title = facts.get("title") or (shown[0].text if shown else "")
    elements: list[Element] = []
    if "title" in facts:
        cover.cover(build, elements.append, facts)
        cover.contents(elements.append, shown)
    front = len(elements)
    Blocks(build, elements.append).walk(tree.children)
    if front:
        _begin_page(elements, front)
    document.sections[0]._sectPr.getparent()[0:0] = elements
    cover.running_titles(build, title, facts.get("method", ""), first_differs=bool(front))
    package.describe(
        document,
        title=title,
        author=author,
        subject=facts.get("method", "") and f"method: {facts['method']}",
        language=facts.get("language", ""),
    )
    return Rendered(package.pack(document), title, tuple(_lost(build.lost)))


def _headings(tree: SyntaxTreeNode, title: str | None) -> tuple[list[Heading | None], dict[str, str]]:
    """Headings with their level in the document, and their bookmarks by anchor.

    A first-level heading that repeats the cover's title is left out; when it was the only one of its level, the
    others move up.
    """
    nodes = [node for node in tree.walk() if node.type == "heading"]
    texts = [_plain(node) for node in nodes]
    levels = [int(node.tag[1]) for node in nodes]
    skipped = next((n for n, text in enumerate(texts) if levels[n] == 1 and text == title), None)
    up = int(skipped is not None and levels.count(1) == 1)
    found: list[Heading | None] = []
    anchors: dict[str, str] = {}
    for number, (text, level) in enumerate(zip(texts, levels, strict=True)):
        bookmark = f"_heading_{number}"
        anchor, again = _slug(text), 0
        while anchor in anchors:
            again += 1
            anchor = f"{_slug(text)}-{again}"
        if number == skipped:
            found.append(None)
            continue
        anchors[anchor] = bookmark
        found.append(Heading(level - up, text, bookmark))
    return found, anchors


def _plain(node: SyntaxTreeNode) -> str:
    return "".join(
        inner.content if inner.type in {"text", "code_inline"} else " " if inner.type == "softbreak" else ""
        for inner in node.walk()
    ).strip()


def _slug(text: str) -> str:
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip())


def _begin_page(elements: list[Element], front: int) -> None:
    """What follows the cover begins on a page of its own."""
    if front == len(elements) or not elements[front].tag.endswith("}p"):
        elements.insert(front, paragraph("TableText"))
    properties = elements[front].get_or_add_pPr()
    properties.insert_element_before(
        element("w:pageBreakBefore"), "w:framePr", "w:widowControl", "w:numPr", "w:suppressLineNumbers", "w:pBdr",
        "w:shd", "w:tabs", "w:spacing", "w:ind", "w:contextualSpacing", "w:jc",
    )  # fmt: skip


def _lost(lost: Counter[str]) -> Sequence[str]:
    return [f"{count} × {what} could not be carried into the DOCX" for what, count in sorted(lost.items())]
