"""A Markdown document, read once for every output made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from markdown_it.tree import SyntaxTreeNode

from .bounds import bounded
from .headings import Heading, headings
from .markdown import may_link, parser, read_front_matter
from .text import printable


@dataclass(frozen=True, slots=True)
class Manuscript:
    """What the outputs are made of."""

    #: The Markdown without what XML forbids.
    text: str
    tree: SyntaxTreeNode
    #: The front matter.
    facts: dict[str, str]
    #: By the position of their node among all; None for the one that a cover shows.
    headings: list[Heading | None]
    #: What already the reading could not keep, by feature and reason.
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def read(cls, markdown: str) -> Manuscript:
        """Parse a document. Any text is one."""
        text = printable(markdown)
        lost: Counter[tuple[str, str]] = Counter()
        tree = SyntaxTreeNode(bounded(parser(), text, may_link, lost))
        facts = next((read_front_matter(node.content) for node in tree.children if node.type == "front_matter"), {})
        return cls(text, tree, facts, headings(tree, facts.get("title")), lost)

    @property
    def title(self) -> str:
        """What the front matter names, else the first heading, else nothing."""
        first = next((heading.text for heading in self.headings if heading), "")
        return self.facts.get("title") or first
