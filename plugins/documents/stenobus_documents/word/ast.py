"""Our tree as pandoc's: the same grammar for both backends, and no word that pandoc would read anew.

The JSON form of pandoc-types 1.23: https://hackage.haskell.org/package/pandoc-types/docs/Text-Pandoc-Definition.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from markdown_it.tree import SyntaxTreeNode

from ..headings import plain
from ..images import Image, Pictures
from ..manuscript import Manuscript
from . import tables
from .blocks import BOXED
from .code import lexer
from .numbering import LEVELS
from .xml import paragraph

#: A block or inline element.
Node = dict[str, Any]

VERSION: Final = [1, 23, 1]
_NONE: Final[list[Any]] = ["", [], []]
_SIDES: Final = {"left": "AlignLeft", "center": "AlignCenter", "right": "AlignRight"}
_NUMBERS: Final = ("Decimal", "LowerAlpha", "LowerRoman")
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)
_LONGEST_TARGET: Final = 2000


def styled(style: str, content: Sequence[Node]) -> Node:
    """A paragraph of a named style."""
    return _node("Div", [["", [], [["custom-style", style]]], [_node("Para", list(content))]])


def raw(xml: str) -> Node:
    """WordprocessingML as it is."""
    return _node("RawBlock", ["openxml", xml])


def text(words: str, style: str = "", target: str | None = None) -> Node:
    """Words, of a named character style, or as a link."""
    if target:
        return _node("Link", [_NONE, [_node("Str", words)], [target, ""]])
    made = _node("Str", words)
    return _node("Span", [["", [], [["custom-style", style]]], [made]]) if style else made


class Tree:
    """Turns the blocks of one document.

    Args:
        files: names of the pictures' files by their address.
        languages: names that pandoc can colour code of.
        names: ids of the document's styles by what we call them.
        width: of the text, in twentieths of a point.
    """

    def __init__(
        self,
        manuscript: Manuscript,
        files: Mapping[str, str],
        pictures: Pictures,
        languages: set[str],
        names: Mapping[str, str],
        width: int,
    ) -> None:
        self._headings = manuscript.headings
        self._anchors = {heading.anchor: heading for heading in manuscript.headings if heading}
        self._notes = {node.meta["id"]: node for node in manuscript.tree.walk() if node.type == "footnote"}
        self._files, self._pictures, self._languages = files, pictures, languages
        self._names, self._width = names, width
        self._position, self._within_note, self._quotes = 0, False, 0
        self.lost: Counter[tuple[str, str]] = Counter()

    def blocks(self, nodes: Sequence[SyntaxTreeNode], level: int = 0) -> list[Node]:
        """These blocks. ``level`` counts the lists around them."""
        made: list[Node] = []
        for before, node in zip((None, *nodes), nodes, strict=False):
            if before and before.type in BOXED and node.type in BOXED:
                made.append(raw(paragraph(self._names["Spacer"])))
            match node.type:
                case "heading":
                    made += self._heading(node)
                case "paragraph":
                    made.append(self._paragraph(node))
                case "bullet_list" | "ordered_list":
                    made += self._list(node, level)
                case "fence" | "code_block":
                    made.append(self._code(node))
                case "blockquote":
                    made.append(self._quote(node, level))
                case "table":
                    made += self._table(node)
                case "hr":
                    made.append(raw(paragraph(self._names["Rule"])))
                case "dl":
                    made.append(self._definitions(node, level))
                case "front_matter" | "footnote_block":
                    pass
                case _:
                    self.lost[node.type, "this output does not know it; its text is there"] += 1
                    made.append(_node("Para", [_node("Str", node.content)]))
        return made

    def _heading(self, node: SyntaxTreeNode) -> list[Node]:
        heading = self._headings[self._position]
        self._position += 1
        if heading is None:
            return []
        return [_node("Header", [min(heading.level, 6), [heading.bookmark.lstrip("_"), [], []], self._inline(node)])]

    def _paragraph(self, node: SyntaxTreeNode) -> Node:
        content = node.children[0].children
        if len(content) == 1 and content[0].type == "image" and not self._within_note:
            image = self._image(content[0])
            caption = str(content[0].attrs.get("title", "")) or content[0].content
            if image["t"] == "Image" and caption:
                told = [None, [_node("Plain", [_node("Str", caption)])]]
                return _node("Figure", [_NONE, told, [_node("Plain", [image])]])
            return _node("Para", [image])
        return _node("Plain" if node.hidden else "Para", self._inlines(content))

    def _quote(self, node: SyntaxTreeNode, level: int) -> Node:
        if self._quotes:
            self.lost["quote", "pandoc puts a quote within a quote at the same depth"] += 1
        self._quotes += 1
        made = _node("BlockQuote", self.blocks(node.children, level))
        self._quotes -= 1
        return made

    def _list(self, node: SyntaxTreeNode, level: int) -> list[Node]:
        items = [self._item(item, level) for item in node.children]
        if level >= LEVELS:
            self.lost["list", f"Word knows {LEVELS} levels; deeper ones stand as paragraphs"] += 1
            return [block for item in items for block in item]
        if node.type == "bullet_list":
            return [_node("BulletList", items)]
        start = int(node.attrs.get("start", 1))
        return [_node("OrderedList", [[start, {"t": _NUMBERS[level % 3]}, {"t": "Period"}], items])]

    def _item(self, node: SyntaxTreeNode, level: int) -> list[Node]:
        return self.blocks(node.children, level + 1) or [_node("Plain", [])]

    def _code(self, node: SyntaxTreeNode) -> Node:
        info = node.info if node.type == "fence" else ""
        known = lexer(info, node.content)
        language = next((name for name in known.aliases if name in self._languages), "") if known else ""
        if known and not language:
            self.lost["code colour", f"pandoc does not know {known.name}"] += 1
        return _node("CodeBlock", [["", [language] * bool(language), []], node.content.rstrip("\n")])

    def _table(self, node: SyntaxTreeNode) -> list[Node]:
        head = [row for part in node.children if part.type == "thead" for row in part.children]
        body = [row for part in node.children if part.type == "tbody" for row in part.children]
        if len(body) > tables.ROWS:
            self.lost["table row", f"a table ends after {tables.ROWS} rows"] += len(body) - tables.ROWS
            body = body[: tables.ROWS]
        texts = [[plain(cell) for cell in row.children] for row in (*head, *body)]
        cells = [[self._cell(cell) for cell in row.children] for row in (*head, *body)]
        sides = [str(cell.attrs.get("style", "")).removeprefix("text-align:") for cell in head[0].children]
        if len(sides) > tables.COLUMNS:
            self.lost["table", f"Word knows {tables.COLUMNS} columns; the table goes on in another below it"] += 1
        made = []
        for start in range(0, len(sides), tables.COLUMNS):
            part = slice(start, start + tables.COLUMNS)
            widths = tables.widths([row[part] for row in texts], self._width)
            columns = [
                [{"t": _SIDES.get(side, "AlignDefault")}, {"t": "ColWidth", "c": width / self._width}]
                for side, width in zip(sides[part], widths, strict=True)
            ]
            rows = [[_NONE, row[part]] for row in cells]
            bodies = [[_NONE, 0, [], rows[len(head) :]]]
            made.append(_node("Table", [_NONE, [None, []], columns, [_NONE, rows[: len(head)]], bodies, [_NONE, []]]))
        return made

    def _cell(self, node: SyntaxTreeNode) -> list[Any]:
        words = [inline for content in node.children for inline in self._inlines(content.children, breaks=True)]
        return [_NONE, {"t": "AlignDefault"}, 1, 1, [_node("Plain", words)]]

    def _definitions(self, node: SyntaxTreeNode, level: int) -> Node:
        made: list[list[Any]] = []
        for part in node.children:
            if part.type == "dt":
                made.append([self._inline(part), []])
            elif made:
                made[-1][1].append(self.blocks(part.children, level))
        return _node("DefinitionList", made)

    def _inline(self, node: SyntaxTreeNode) -> list[Node]:
        return [inline for content in node.children for inline in self._inlines(content.children)]

    def _inlines(self, nodes: Sequence[SyntaxTreeNode], *, breaks: bool = False) -> list[Node]:
        made: list[Node] = []
        for node in nodes:
            match node.type:
                case "text":
                    for number, words in enumerate(_BREAK.split(node.content) if breaks else [node.content]):
                        made += [_node("LineBreak")] * (number > 0) + [_node("Str", words)] * bool(words)
                case "softbreak":
                    made.append(_node("Space"))
                case "hardbreak":
                    made.append(_node("LineBreak"))
                case "code_inline":
                    made.append(_node("Code", [_NONE, node.content]))
                case "strong" | "em" | "s":
                    kind = {"strong": "Strong", "em": "Emph", "s": "Strikeout"}[node.type]
                    made.append(_node(kind, self._inlines(node.children, breaks=breaks)))
                case "link":
                    made += self._link(node, breaks=breaks)
                case "image":
                    made.append(self._image(node))
                case "footnote_ref":
                    made.append(self._note(node))
                case "html_inline":
                    made += [_node("Str", "\u2612" if "checked=" in node.content else "\u2610"), _node("Space")]
                case "footnote_anchor":
                    pass
                case _:
                    self.lost[node.type, "this output does not know it; its text is there"] += 1
                    made.append(_node("Str", node.content))
        return made

    def _link(self, node: SyntaxTreeNode, *, breaks: bool) -> list[Node]:
        target = str(node.attrs.get("href", ""))
        content = self._inlines(node.children, breaks=breaks)
        if target.startswith("#"):
            heading = self._anchors.get(unquote(target[1:]))
            if heading is None:
                self.lost["link", "it names a place that the document has not; its text is there"] += 1
                return content
            target = f"#{heading.bookmark.lstrip('_')}"
        elif len(target) > _LONGEST_TARGET:
            self.lost["link", f"its address has more than {_LONGEST_TARGET} characters; its text is there"] += 1
            return content
        return [_node("Link", [_NONE, content, [target, ""]])]

    def _image(self, node: SyntaxTreeNode) -> Node:
        source = str(node.attrs.get("src", ""))
        found = self._pictures.get(source, "it was not loaded")
        if not isinstance(found, Image):
            self.lost["image", f"{found}; its description is there"] += 1
            return _node("Emph", [_node("Str", f"[image: {node.content or 'no description'}]")])
        return _node("Image", [_NONE, [_node("Str", node.content)] if node.content else [], [self._files[source], ""]])

    def _note(self, node: SyntaxTreeNode) -> Node:
        note = self._notes.get(node.meta.get("id", -1))
        if note is None or self._within_note:
            self.lost["footnote", "it stands in a footnote itself, or is not told; its mark is there"] += 1
            return _node("Str", f"[{node.meta.get('label') or node.meta.get('id', 0) + 1}]")
        self._within_note = True
        content = self.blocks(note.children)
        self._within_note = False
        return _node("Note", content or [_node("Para", [])])


def _node(kind: str, content: Any = None) -> Node:
    return {"t": kind} if content is None else {"t": kind, "c": content}
