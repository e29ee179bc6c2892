"""Inline Markdown to runs and hyperlinks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

from markdown_it.tree import SyntaxTreeNode

from ..images import Image
from .build import Build
from .picture import drawing
from .xml import BREAK, PLAIN, Marks, Xml, link, run

#: Word refuses files with longer targets.
_LONGEST_TARGET: Final = 2000
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)


class Inline:
    """Runs for one part: the body, or the footnotes, whose links are related to another part."""

    def __init__(self, build: Build, part: Any, *, footnotes: bool = True) -> None:
        self._build, self._part, self._footnotes = build, part, footnotes
        self._code, self._link = build.styles["InlineCode"], build.styles["Hyperlink"]

    def text(self, nodes: Sequence[SyntaxTreeNode]) -> Xml:
        """The content of a paragraph."""
        return "".join(self.runs(nodes))

    def runs(self, nodes: Sequence[SyntaxTreeNode], marks: Marks = PLAIN, *, breaks: bool = False) -> list[Xml]:
        """The same in pieces. With ``breaks``, each ``<br>`` of the text is a piece of its own, :data:`BREAK`."""
        made: list[Xml] = []
        for node in nodes:
            match node.type:
                case "text":
                    content = node.content
                    if breaks and "<" in content:
                        for number, text in enumerate(_BREAK.split(content)):
                            made += [BREAK] * (number > 0) + [run(text, marks)] * bool(text)
                    elif content:
                        made.append(run(content, marks))
                case "softbreak":
                    made.append(run(" ", marks))
                case "hardbreak":
                    made.append(BREAK)
                case "code_inline":
                    made.append(run(node.content, marks._replace(style=marks.style or self._code)))
                case "strong":
                    made += self.runs(node.children, marks._replace(bold=True), breaks=breaks)
                case "em":
                    made += self.runs(node.children, marks._replace(italic=True), breaks=breaks)
                case "s":
                    made += self.runs(node.children, marks._replace(strike=True), breaks=breaks)
                case "link":
                    made += self._hyperlink(node, marks, breaks=breaks)
                case "image":
                    made.append(self.image(node))
                case "footnote_ref":
                    made.append(self._footnote(node))
                case "html_inline" | "footnote_anchor":
                    pass  # the box of a task, which its list draws; the way back, which Word draws
                case _:
                    made.append(run(node.content, marks))
                    self._build.lose(node.type, "this output does not know it; its text is there")
        return made

    def picture(self, node: SyntaxTreeNode) -> Image | str:
        """The picture behind an image, or why there is none."""
        if not self._footnotes:
            return "footnotes hold no images here"
        return self._build.pictures.get(str(node.attrs.get("src", "")), "it was not loaded")

    def image(self, node: SyntaxTreeNode) -> Xml:
        """An image, or its description in its place."""
        found = self.picture(node)
        if isinstance(found, Image):
            return drawing(self._build, found, node.content)
        self._build.lose("image", f"{found}; its description is there")
        return run(f"[image: {node.content or 'no description'}]", Marks(italic=True))

    def _hyperlink(self, node: SyntaxTreeNode, marks: Marks, *, breaks: bool) -> list[Xml]:
        target = str(node.attrs.get("href", ""))
        anchor = relation = ""
        if target.startswith("#"):
            heading = self._build.anchors.get(unquote(target[1:]))
            if heading is None:
                self._build.lose("link", "it names a place that the document has not; its text is there")
                return self.runs(node.children, marks, breaks=breaks)
            anchor = heading.bookmark
        elif len(target) <= _LONGEST_TARGET:
            relation = self._build.relation(self._part, target)
        else:
            self._build.lose("link", f"its address has more than {_LONGEST_TARGET} characters; its text is there")
            return self.runs(node.children, marks, breaks=breaks)
        content = self.runs(node.children, marks._replace(style=self._link), breaks=breaks)
        return [link("".join(content), anchor=anchor, relation=relation)]

    def _footnote(self, node: SyntaxTreeNode) -> Xml:
        note = self._build.notes.get(node.meta.get("id", -1))
        if note is None or not self._footnotes:
            self._build.lose("footnote", "it stands in a footnote itself, or is not told; its mark is there")
            return run(f"[{node.meta.get('label') or node.meta.get('id', 0) + 1}]")
        inside = Inline(self._build, self._build.footnotes.part, footnotes=False)
        blocks = [inside.text(block.children) for block in note.walk() if block.type == "inline"]
        rest = [block for block in note.walk() if block.type in {"fence", "code_block", "table"}]
        if rest:
            self._build.lose("footnote", "code and tables in footnotes stand as plain text", len(rest))
            blocks += [run(block.content.rstrip("\n"), Marks(style=self._code)) for block in rest if block.content]
        return self._build.footnotes.add(blocks or [""])
