"""Documents into chunks: one section each, or parts of a long one, with heading path and source time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .text import clean

#: Part of every document's fingerprint: raise it when the same text yields other chunks.
VERSION = 1
#: Longest chunk in characters, some 200 words: within reach of small embedding models, and of one look.
MAX_CHARACTERS = 1_200
#: Weight of what tells of the document's making: it is alike in all documents, names every subject, and would crowd
#: the hits.
DEMOTED = 0.2
DEMOTED_HEADINGS = frozenset({"provenance", "procedencia", "procedência"})

_BREAKS = ("\n", "。", ". ", "? ", "! ", "; ", " ")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage that can be found by itself."""

    #: Headings from the outermost to the passage's own.
    headings: tuple[str, ...]
    text: str
    #: Where the recording says it, in seconds; None when the text does not tell.
    start: float | None = None
    #: Factor on the score.
    weight: float = 1.0


@dataclass(slots=True)
class _Section:
    headings: tuple[tuple[int, str], ...]
    start: float | None = None
    blocks: list[str] = field(default_factory=list)
    only_quotes: bool = True

    @property
    def tells_of_the_making(self) -> bool:
        """A section of provenance, or the banner below the top heading, which is a quote."""
        if [level for level, _ in self.headings] == [1] and self.blocks and self.only_quotes:
            return True
        return any(text.casefold() in DEMOTED_HEADINGS for _, text in self.headings)


def chunks(text: str, title: str = "") -> list[Chunk]:
    """Cut a Markdown or plain text into chunks in reading order.

    Front matter is left out, and so is a top heading that repeats the title. A text without any words still yields one
    empty chunk: the document can be found by its title.

    Args:
        text: the document.
        title: its title.
    """
    sections = _with_words(list(_sections(clean(text))))
    return [chunk for section in sections for chunk in _chunks_of(section, title)] or [Chunk((), "")]


def _sections(text: str) -> Iterator[_Section]:
    from .markdown import blocks, first_time, without_times  # the parser takes longer to load than this whole plugin

    section = _Section(())
    for block in blocks(text):
        if block.level:
            yield section
            above = tuple(heading for heading in section.headings if heading[0] < block.level)
            section = _Section((*above, (block.level, without_times(block.marked))), first_time(block.marked))
        elif block.marked:
            section.blocks.append(block.marked)
            section.only_quotes &= block.quoted
    yield section


def _with_words(sections: list[_Section]) -> Iterator[_Section]:
    """Leave out sections without text, unless their heading would be lost: it is in the path of what lies below."""
    followers: list[_Section | None] = [*sections[1:], None]
    for section, follower in zip(sections, followers, strict=True):
        depth = len(section.headings)
        if section.blocks or (depth and (follower is None or follower.headings[:depth] != section.headings)):
            yield section


def _chunks_of(section: _Section, title: str) -> Iterator[Chunk]:
    from .markdown import first_time, without_times

    headings = tuple(text for _, text in section.headings)
    weight = DEMOTED if section.tells_of_the_making else 1.0
    if headings and headings[0].casefold() == title.casefold():
        headings = headings[1:]
    start = section.start
    for marked in _packed(section.blocks) if section.blocks else [""]:
        own = first_time(marked)
        start = start if own is None else own  # a part without a time goes on where the part before it was
        yield Chunk(headings, without_times(marked), start, weight)


def _packed(blocks: Iterable[str]) -> Iterator[str]:
    """Join whole blocks up to the longest chunk; a longer block is split."""
    packed = ""
    for piece in (piece for block in blocks for piece in _split(block)):
        if packed and len(packed) + len(piece) + 2 > MAX_CHARACTERS:
            yield packed
            packed = ""
        packed = f"{packed}\n\n{piece}" if packed else piece
    yield packed


def _split(block: str) -> Iterator[str]:
    """Parts of at most the longest chunk, ending at a line, a sentence or a word where there is one."""
    start = 0
    while len(block) - start > MAX_CHARACTERS:
        middle, limit = start + MAX_CHARACTERS // 2, start + MAX_CHARACTERS
        ends = (block.rfind(mark, middle, limit) + len(mark) for mark in _BREAKS)
        end = next((end for end in ends if end > middle), limit)
        yield block[start:end].strip()
        start = end
    if rest := block[start:].strip():
        yield rest
