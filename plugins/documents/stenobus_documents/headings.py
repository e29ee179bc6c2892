"""Headings of a document: their levels, and the anchors that links name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it.tree import SyntaxTreeNode


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, where the contents and links can point at it. ``level`` as in the document, from 1."""

    level: int
    text: str
    #: Number among all headings of the Markdown.
    number: int
    anchor: str

    @property
    def bookmark(self) -> str:
        """Its name in a DOCX, which knows fewer characters."""
        return f"_heading_{self.number}"


def headings(tree: SyntaxTreeNode, title: str | None) -> list[Heading | None]:
    """All headings with their level in the document.

    A first-level heading that repeats the cover's title is None. Below a cover the others move up until one of them is
    of the first level. Anchors are GitHub's: ``Disk full!`` is ``disk-full``, the second one ``disk-full-1``.
    """
    nodes = [node for node in tree.walk() if node.type == "heading"]
    texts = [plain(node) for node in nodes]
    levels = [int(node.tag[1]) for node in nodes]
    skipped = next((n for n, text in enumerate(texts) if levels[n] == 1 and text == title), None)
    shown = [level for n, level in enumerate(levels) if n != skipped]
    up = min(shown, default=1) - 1 if title else 0
    found: list[Heading | None] = []
    taken: dict[str, int] = {}
    for number, (text, level) in enumerate(zip(texts, levels, strict=True)):
        if number == skipped:
            found.append(None)
            continue
        slug = anchor = _slug(text)
        while anchor in taken:
            taken[slug] += 1
            anchor = f"{slug}-{taken[slug]}"
        taken[anchor] = 0
        found.append(Heading(level - up, text, number, anchor))
    return found


def plain(node: SyntaxTreeNode) -> str:
    """The words of a node without their marks."""
    return "".join(
        inner.content if inner.type in {"text", "code_inline", "image"} else " " if inner.type == "softbreak" else ""
        for inner in node.walk()
    ).strip()


def _slug(text: str) -> str:
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip())
