"""Markdown into chunks: one section each, or parts of a long one, with heading path and source time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .text import clean

#: Part of every document's fingerprint: raise it when the same text yields other chunks.
VERSION = 1
#: Longest chunk in characters, some 300 words: a screenful, and within reach of small embedding models.
MAX_CHARACTERS = 1_800
#: Weight of sections about the document's making; they name every subject and would crowd the hits.
DEMOTED = 0.2
DEMOTED_HEADINGS = frozenset({"provenance", "procedencia", "procedência"})

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_CLOCK = r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d+)?)"
_TIME = re.compile(_CLOCK)
_BRACKETED_TIME = re.compile(rf"\[{_CLOCK}\]")
# Times travel through the splitting as seconds between two control characters, which cleaned text cannot contain.
_MARK = re.compile(r"\x02([\d.]+)\x03")
_MARK_IN_TEXT = re.compile(r"(?m)^{0}[ \t]*|[ \t]*{0}".format(r"(?:\(\x02[\d.]+\x03\)|\x02[\d.]+\x03)"))
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
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


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Any address makes a link: times are linked to recordings at file:///, and nothing is rendered here."""
        return True


@dataclass(slots=True)
class _Section:
    headings: tuple[tuple[int, str], ...]
    start: float | None = None
    blocks: list[str] = field(default_factory=list)


def chunks(markdown: str, title: str = "") -> list[Chunk]:
    """Cut a Markdown text into chunks in reading order.

    Front matter is left out, and so is a top heading that repeats the title. A text without any words still yields one
    empty chunk: the document can be found by its title.

    Args:
        markdown: the text; plain text is fine too.
        title: the document's title.
    """
    source = _FRONT_MATTER.sub("", clean(markdown.replace("\r\n", "\n")), count=1)
    tokens = _Markdown("commonmark").enable("table").parse(source)
    found = [chunk for section in _with_words(list(_sections(tokens))) for chunk in _chunks_of(section, title)]
    return found or [Chunk((), "")]


def _sections(tokens: list[Token]) -> Iterator[_Section]:
    section = _Section(())
    for block in _blocks(tokens):
        if block[0].type == "heading_open":
            yield section
            level = int(block[0].tag[1:])
            marked = _plain(block)
            above = tuple(heading for heading in section.headings if heading[0] < level)
            section = _Section((*above, (level, _without_times(marked))), _first_time(marked))
        elif text := _plain(block).strip():
            section.blocks.append(text)
    yield section


def _with_words(sections: list[_Section]) -> Iterator[_Section]:
    """Leave out sections without text, unless their heading would be lost: it is in the path of what lies below."""
    followers: list[_Section | None] = [*sections[1:], None]
    for section, follower in zip(sections, followers, strict=True):
        depth = len(section.headings)
        if section.blocks or (depth and (follower is None or follower.headings[:depth] != section.headings)):
            yield section


def _chunks_of(section: _Section, title: str) -> Iterator[Chunk]:
    headings = tuple(text for _, text in section.headings)
    weight = DEMOTED if DEMOTED_HEADINGS & {heading.casefold() for heading in headings} else 1.0
    if headings and headings[0].casefold() == title.casefold():
        headings = headings[1:]
    start = section.start
    for marked in _packed(section.blocks) if section.blocks else [""]:
        own = _first_time(marked)
        start = start if own is None else own  # a part without a time goes on where the part before it was
        yield Chunk(headings, _without_times(marked), start, weight)


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
    while len(block) > MAX_CHARACTERS:
        ends = (block.rfind(mark, MAX_CHARACTERS // 2, MAX_CHARACTERS) + len(mark) for mark in _BREAKS)
        end = next((end for end in ends if end > MAX_CHARACTERS // 2), MAX_CHARACTERS)
        yield block[:end].rstrip()
        block = block[end:].lstrip()
    if block:
        yield block


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    """Groups of tokens, each one block of the outermost level."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting != 1:
            yield block
            block = []


def _plain(block: list[Token]) -> str:
    """A block's words, one line for each paragraph, list item or table row, with its times marked."""
    lines: list[str] = []
    cells: list[str] | None = None
    for token in block:
        if token.type == "tr_open":
            cells = []
        elif token.type == "tr_close" and cells is not None:
            lines.append(" | ".join(cells))
            cells = None
        elif token.type == "inline":
            (lines if cells is None else cells).append(_inline(token.children or []))
        elif token.type in {"fence", "code_block"}:
            lines.append(token.content.rstrip("\n"))
        elif token.type == "html_block":
            lines.append(_TAG.sub("", token.content).strip())
    return "\n".join(line for line in lines if line)


def _inline(tokens: list[Token]) -> str:
    parts: list[str] = []
    link = 0
    for token in tokens:
        if token.type == "text":
            parts.append(_BRACKETED_TIME.sub(_mark, token.content))
        elif token.type in {"code_inline", "image"}:
            parts.append(token.content)
        elif token.type in {"softbreak", "hardbreak"}:
            parts.append("\n")
        elif token.type == "link_open":
            link = len(parts)
        elif token.type == "link_close":
            words = "".join(parts[link:]).strip()
            if time := _TIME.fullmatch(words):
                parts[link:] = [_mark(time)]
    return "".join(parts)


def _mark(time: re.Match[str]) -> str:
    hours, minutes, seconds = time.groups()
    return f"\x02{int(hours) * 3600 + int(minutes) * 60 + float(seconds)}\x03"


def _without_times(marked: str) -> str:
    return clean(_MARK_IN_TEXT.sub("", marked)).strip()


def _first_time(marked: str) -> float | None:
    mark = _MARK.search(marked)
    return float(mark[1]) if mark else None
