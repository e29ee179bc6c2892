"""Block Markdown to paragraphs and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from docx.oxml.ns import qn
from markdown_it.tree import SyntaxTreeNode

from . import code, tables
from .build import Build
from .inline import Inline
from .numbering import LEVELS, STEP, number
from .xml import Element, Marks, element, indent, paragraph, run

#: Indent of a quote inside a quote, in twentieths of a point.
_QUOTE = 284
#: Shaded or bordered paragraphs that touch become one box.
_BOXED = frozenset({"fence", "code_block", "blockquote"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands: the style of its paragraphs, their indent, the depth of the list it is in."""

    style: str | None = None
    left: int = 0
    level: int = -1


class Blocks:
    """Walks the tree of one document."""

    def __init__(self, build: Build, out: Callable[[Element], None]) -> None:
        self._build, self._out = build, out
        self._inline = Inline(build, build.document.part)

    def walk(self, nodes: Sequence[SyntaxTreeNode], place: Place = Place()) -> None:
        """Hand the elements of these blocks to ``out``, in order."""
        for before, node in zip((None, *nodes), nodes, strict=False):
            if before and before.type in _BOXED and node.type in _BOXED:
                self._out(paragraph("Spacer"))
            match node.type:
                case "heading":
                    self._heading(node)
                case "paragraph":
                    self._out(self._paragraph(node, place))
                case "bullet_list" | "ordered_list":
                    self._list(node, place)
                case "fence" | "code_block":
                    self._code(node, place)
                case "blockquote":
                    nested = place.style == "Quote"
                    self.walk(node.children, replace(place, style="Quote", left=place.left + _QUOTE * (1 + nested)))
                case "table":
                    self._out(tables.table(node, self._inline, self._build.width))
                    self._out(paragraph("Spacer"))  # tables that touch become one, and a document cannot end with one
                case "hr":
                    self._out(paragraph("Rule"))
                case "dl":
                    self._definitions(node)
                case "front_matter" | "footnote_block":
                    pass  # the cover and the footnotes are made of them
                case _:
                    self._build.lost[node.type] += 1
                    self._out(self._text(node.content, place))

    def _heading(self, node: SyntaxTreeNode) -> None:
        heading = self._build.headings[self._build.position]
        self._build.position += 1
        if heading is None:
            return
        made = paragraph(f"Heading{min(heading.level, 6)}")
        made.append(element("w:bookmarkStart", id=self._build.position, name=heading.bookmark))
        made.extend(self._inline.runs(node.children[0].children))
        made.append(element("w:bookmarkEnd", id=self._build.position))
        self._out(made)

    def _code(self, node: SyntaxTreeNode, place: Place) -> None:
        made = code.block(node.content, node.info if node.type == "fence" else "")
        if place.left:
            indent(made, place.left + 113)
        self._out(made)

    def _paragraph(self, node: SyntaxTreeNode, place: Place) -> Element:
        made = self._text("", place)
        made.extend(self._inline.runs(node.children[0].children))
        return made

    def _text(self, text: str, place: Place) -> Element:
        made = paragraph(place.style)
        if place.left:
            indent(made, place.left)
        if text:
            made.append(run(text))
        return made

    def _list(self, node: SyntaxTreeNode, place: Place) -> None:
        level = min(place.level + 1, LEVELS - 1)
        ordered = node.type == "ordered_list"
        num = self._build.lists.start(ordered=ordered, level=level, first=int(node.attrs.get("start", 1)))
        inside = replace(place, left=place.left + STEP if place.left else STEP * (level + 1), level=level)
        for item in node.children:
            blocks = list(item.children)
            first = blocks.pop(0) if blocks and blocks[0].type == "paragraph" else None
            self._out(self._item(first, num, level, place))
            self.walk(blocks, inside)

    def _item(self, node: SyntaxTreeNode | None, num: int, level: int, place: Place) -> Element:
        made = paragraph(place.style or "ListParagraph")
        content = node.children[0].children if node else []
        box = content[0] if content and content[0].type == "html_inline" else None
        if box is None:
            number(made, num, level)
        if box or place.style:
            indent(made, (place.left or STEP * level) + STEP, hanging=STEP)
        if box:
            made.append(run("\u2611" if "checked=" in box.content else "\u2610", Marks(style="TaskBox")))
            made.append(run("\t"))
        made.extend(self._inline.runs(content[1:] if box else content))
        if box:
            for words in list(made.iter(qn("w:t")))[1:2]:
                words.text = words.text.lstrip()  # the space between the brackets and the text
        return made

    def _definitions(self, node: SyntaxTreeNode) -> None:
        for part in node.children:
            if part.type == "dt":
                made = paragraph("DefinitionTerm")
                for content in part.children:
                    made.extend(self._inline.runs(content.children))
                self._out(made)
            else:
                self.walk(part.children, Place(style="Definition"))
