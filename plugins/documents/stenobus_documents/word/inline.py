"""Inline Markdown to runs and hyperlinks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.oxml.ns import qn
from markdown_it.tree import SyntaxTreeNode

from .build import Build
from .xml import PLAIN, Element, Marks, element, paragraph, run

#: Word refuses files with longer targets.
_LONGEST_TARGET = 2000
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


class Inline:
    """Runs for one part: the body, or the footnotes, whose links are related to another part."""

    def __init__(self, build: Build, part: Any, *, footnotes: bool = True) -> None:
        self._build, self._part, self._footnotes = build, part, footnotes

    def runs(self, nodes: Sequence[SyntaxTreeNode], marks: Marks = PLAIN, *, breaks: bool = False) -> list[Element]:
        """Elements for a paragraph. With ``breaks``, each ``<br>`` of the text is a line break in its own run."""
        made: list[Element] = []
        for node in nodes:
            match node.type:
                case "text":
                    for number, text in enumerate(_BREAK.split(node.content) if breaks else [node.content]):
                        made += [run("\n")] * (number > 0) + [run(text, marks)] * bool(text)
                case "softbreak":
                    made.append(run(" ", marks))
                case "hardbreak":
                    made.append(run("\n", marks))
                case "code_inline":
                    made.append(run(node.content, marks.with_(style=marks.style or "InlineCode")))
                case "strong":
                    made += self.runs(node.children, marks.with_(bold=True), breaks=breaks)
                case "em":
                    made += self.runs(node.children, marks.with_(italic=True), breaks=breaks)
                case "s":
                    made += self.runs(node.children, marks.with_(strike=True), breaks=breaks)
                case "link":
                    made += self._link(node, marks, breaks=breaks)
                case "image":
                    made.append(run(f"[image: {node.content or 'no description'}]", marks.with_(italic=True)))
                    self._build.lost["image"] += 1
                case "footnote_ref":
                    made += self._footnote(node)
                case "html_inline" | "footnote_anchor":
                    pass  # the box of a task, which its list draws; the way back, which Word draws
                case _:
                    made.append(run(node.content, marks))
                    self._build.lost[node.type] += 1
        return made

    def _link(self, node: SyntaxTreeNode, marks: Marks, *, breaks: bool) -> list[Element]:
        target = str(node.attrs.get("href", ""))
        if target.startswith("#"):
            bookmark = self._build.anchors.get(unquote(target[1:]))
            if bookmark is None:
                return self.runs(node.children, marks, breaks=breaks)
            link = element("w:hyperlink", anchor=bookmark, history=1)
        elif len(target) <= _LONGEST_TARGET:
            link = element("w:hyperlink", history=1)
            link.set(qn("r:id"), self._part.relate_to(target, RT.HYPERLINK, is_external=True))
        else:
            self._build.lost["link with a very long address"] += 1
            return self.runs(node.children, marks, breaks=breaks)
        link.extend(self.runs(node.children, marks.with_(style="Hyperlink"), breaks=breaks))
        return [link]

    def _footnote(self, node: SyntaxTreeNode) -> list[Element]:
        note = self._build.notes.get(node.meta.get("id", -1))
        if note is None or not self._footnotes:
            return [run(f"[{node.meta.get('label') or node.meta.get('id', 0) + 1}]")]
        inside = Inline(self._build, self._build.footnotes.part, footnotes=False)
        content = []
        for block in note.walk():
            if block.type == "inline":
                made = paragraph("FootnoteText")
                made.extend(inside.runs(block.children))
                content.append(made)
        return [self._build.footnotes.add(content or [paragraph("FootnoteText")])]
