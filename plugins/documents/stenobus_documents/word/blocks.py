"""Block Markdown to paragraphs and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from markdown_it.tree import SyntaxTreeNode

from ..images import Image
from . import code, tables
from .build import Build
from .inline import Inline
from .numbering import LEVELS, STEP
from .xml import Marks, Xml, paragraph, run

#: Indent of a quote inside a quote, and of what a quote or code block stands apart, in twentieths of a point.
_QUOTE: Final = 284
_BOX: Final = 113
#: Indents end here, lest nothing of the line is left, as a part of the text's width.
_DEEPEST: Final = 0.6
#: Code of this many lines is not torn apart by the end of a page.
_WHOLE: Final = 20
#: Shaded or bordered paragraphs that touch become one box.
BOXED: Final = frozenset({"fence", "code_block", "blockquote"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands: the style of its paragraphs, their indent, the depth of the list it is in."""

    style: str | None = None
    left: int = 0
    level: int = -1


class Blocks:
    """Walks the tree of one document.

    Args:
        out: takes the blocks in order.
        page: the first block begins a page.
    """

    def __init__(self, build: Build, out: list[Xml], *, page: bool) -> None:
        self._build, self._out, self._page = build, out, page
        self._styles = build.styles
        self._inline = Inline(build, build.document.part)
        self._deepest = int(build.width * _DEEPEST)

    def walk(self, nodes: Sequence[SyntaxTreeNode], place: Place = Place()) -> None:
        """Put these blocks out, in order."""
        for before, node in zip((None, *nodes), nodes, strict=False):
            if before and before.type in BOXED and node.type in BOXED:
                self._paragraph("Spacer")
            match node.type:
                case "heading":
                    self._heading(node)
                case "paragraph":
                    self._words(node.children[0].children, place)
                case "bullet_list" | "ordered_list":
                    self._list(node, place)
                case "fence" | "code_block":
                    self._code(node, place)
                case "blockquote":
                    left = place.left + _QUOTE * (1 + (place.style == "Quote"))
                    self.walk(node.children, replace(place, style="Quote", left=left))
                case "table":
                    self._table(node, place)
                case "hr":
                    self._paragraph("Rule")
                case "dl":
                    self._definitions(node, place)
                case "front_matter" | "footnote_block":
                    pass  # the cover and the footnotes are made of them
                case _:
                    self._build.lose(node.type, "this output does not know it; its text is there")
                    self._paragraph(place.style, run(node.content), left=place.left)

    def _paragraph(
        self,
        style: str | None,
        content: Xml = "",
        *,
        num: tuple[int, int] | None = None,
        left: int = 0,
        hanging: int = 0,
        keep: bool = False,
        whole: bool = False,
    ) -> None:
        named = self._styles[style] if style else None
        left = min(left, self._deepest)
        self._out.append(
            paragraph(named, content, page=self._page, num=num, left=left, hanging=hanging, keep=keep, whole=whole)
        )
        self._page = False

    def _heading(self, node: SyntaxTreeNode) -> None:
        heading = self._build.headings[self._build.position]
        self._build.position += 1
        if heading is None:
            return
        mark = f'w:id="{self._build.position}"'
        words = self._inline.text(node.children[0].children)
        content = f'<w:bookmarkStart {mark} w:name="{heading.bookmark}"/>{words}<w:bookmarkEnd {mark}/>'
        self._paragraph(f"Heading{min(heading.level, 6)}", content)

    def _code(self, node: SyntaxTreeNode, place: Place) -> None:
        content = code.runs(node.content, node.info if node.type == "fence" else "")
        whole = node.content.count("\n") <= _WHOLE
        self._paragraph("CodeBlock", content, left=place.left + _BOX if place.left else 0, whole=whole)

    def _words(self, nodes: Sequence[SyntaxTreeNode], place: Place) -> None:
        """A paragraph; an image that stands alone in it gets its caption."""
        if len(nodes) == 1 and nodes[0].type == "image" and isinstance(self._inline.picture(nodes[0]), Image):
            caption = str(nodes[0].attrs.get("title", "")) or nodes[0].content
            self._paragraph("Figure", self._inline.image(nodes[0]), left=place.left, keep=bool(caption))
            if caption:
                self._paragraph("Caption", run(caption), left=place.left)
        else:
            self._paragraph(place.style, self._inline.text(nodes), left=place.left)

    def _table(self, node: SyntaxTreeNode, place: Place) -> None:
        if self._page:
            self._paragraph("Spacer")  # a table cannot begin a page by itself
        self._out.extend(tables.table(node, self._inline, self._build, min(place.left, self._deepest)))
        self._paragraph("Spacer")  # tables that touch become one, and a document cannot end with one

    def _list(self, node: SyntaxTreeNode, place: Place) -> None:
        level = min(place.level + 1, LEVELS - 1)
        if place.level + 1 >= LEVELS:
            self._build.lose("list", f"Word knows {LEVELS} levels; deeper ones stand at the last")
        ordered = node.type == "ordered_list"
        num = self._build.lists.start(ordered=ordered, level=level, first=int(node.attrs.get("start", 1)))
        inside = replace(place, left=place.left + STEP if place.left else STEP * (level + 1), level=level)
        for item in node.children:
            blocks = list(item.children)
            first = blocks.pop(0) if blocks and blocks[0].type == "paragraph" else None
            self._item(first, num, level, place)
            self.walk(blocks, inside)

    def _item(self, node: SyntaxTreeNode | None, num: int, level: int, place: Place) -> None:
        content = node.children[0].children if node else []
        task = content[0] if content and content[0].type == "html_inline" else None
        box = ""
        if task:
            sign = "\u2611" if "checked=" in task.content else "\u2610"
            box = run(sign, Marks(style=self._styles["TaskBox"])) + run("\t")
            content = content[1:]
            if content and content[0].type == "text" and content[0].token:
                content[0].token.content = content[0].content.lstrip()  # the space behind the brackets
        moved = task or place.style or place.left > STEP * level
        self._paragraph(
            place.style or "ListParagraph",
            box + self._inline.text(content),
            num=None if task else (num, level),
            left=(place.left or STEP * level) + STEP if moved else 0,
            hanging=STEP if moved else 0,
        )

    def _definitions(self, node: SyntaxTreeNode, place: Place) -> None:
        for part in node.children:
            if part.type == "dt":
                words = [self._inline.text(content.children) for content in part.children]
                self._paragraph("DefinitionTerm", "".join(words), left=place.left)
            else:
                self.walk(part.children, replace(place, style="Definition", left=place.left + 454))
