"""What all parts of one rendering share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from markdown_it.tree import SyntaxTreeNode

from ..headings import Heading
from ..images import Pictures
from .footnotes import Footnotes
from .numbering import Lists


@dataclass(slots=True)
class Build:
    """One document in the making."""

    document: Document
    #: Ids of the document's styles by what we call them.
    styles: Mapping[str, str]
    lists: Lists
    footnotes: Footnotes
    #: Width and height of the text, in twentieths of a point.
    width: int
    height: int
    #: Markdown nodes of the footnotes, by the plugin's number.
    notes: Mapping[int, SyntaxTreeNode]
    #: Headings by the position of their node among all headings of the Markdown; None for the one the cover shows.
    headings: list[Heading | None]
    #: Headings by the anchor that a link would name.
    anchors: Mapping[str, Heading]
    pictures: Pictures
    #: What could not be carried over, by feature and reason.
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Number of the next heading, and of the last picture.
    position: int = 0
    picture: int = 0
    _relations: dict[tuple[int, str], str] = field(default_factory=dict)

    def relation(self, part: Any, target: str) -> str:
        """Id of a part's relationship to an address outside; asked of python-docx, each costs a look at all."""
        key = (id(part), target)
        if key not in self._relations:
            self._relations[key] = part.relate_to(target, RT.HYPERLINK, is_external=True)
        return self._relations[key]

    def lose(self, feature: str, reason: str, count: int = 1) -> None:
        """Note that something of the Markdown is not in the file, or not as what it is."""
        self.lost[feature, reason] += count
