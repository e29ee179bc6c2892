"""What all parts of one rendering share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from docx.document import Document
from markdown_it.tree import SyntaxTreeNode

from .footnotes import Footnotes
from .numbering import Lists


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading, where the contents and links can point at it. ``level`` as in the document, from 1."""

    level: int
    text: str
    bookmark: str


@dataclass(slots=True)
class Build:
    """One document in the making."""

    document: Document
    lists: Lists
    footnotes: Footnotes
    #: Width of the text, in twentieths of a point.
    width: int
    #: Markdown nodes of the footnotes, by the plugin's number.
    notes: Mapping[int, SyntaxTreeNode]
    #: Headings by the position of their node among all headings of the Markdown; None for the one the cover shows.
    headings: list[Heading | None]
    #: Bookmarks by the anchor that a link would name.
    anchors: Mapping[str, str]
    #: What could not be carried over, by reason.
    lost: Counter[str] = field(default_factory=Counter)
    #: Number of the next heading.
    position: int = 0
