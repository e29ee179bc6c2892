"""Markdown into blocks of plain words, with the source times marked in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_CLOCK = r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d+)?)"
_TIME = re.compile(_CLOCK)
_BRACKETED_TIME = re.compile(rf"\[{_CLOCK}\]")
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
# A mark is the seconds between two control characters, which cleaned text cannot contain.
_MARK = re.compile(r"\x02([\d.]+)\x03")
_MARK_IN_TEXT = re.compile(r"(?m)^{0}[ \t]*|[ \t]*{0}|[\x02\x03]".format(r"(?:\(\x02[\d.]+\x03\)|\x02[\d.]+\x03)"))


class Block(NamedTuple):
    """A heading, or a paragraph, list, table, quote or piece of code."""

    #: 1 to 6 for a heading, 0 for text.
    level: int
    #: Its words: one line for each paragraph, list item or table row.
    marked: str
    quoted: bool = False


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Any address makes a link: times are linked to recordings at file:///, and nothing is rendered here."""
        return True


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a cleaned Markdown text in reading order, without front matter.

    ``[00:01:23]`` and links whose text is ``00:01:23`` become marks, which :func:`first_time` reads and
    :func:`without_times` removes. Code is left as it is: a time in it belongs to some log.
    """
    source = _FRONT_MATTER.sub("", text.replace("\r\n", "\n"), count=1)
    block: list[Token] = []
    for token in _Markdown("commonmark").enable("table").parse(source):
        block.append(token)
        if token.level == 0 and token.nesting != 1:
            level = int(block[0].tag[1:]) if block[0].type == "heading_open" else 0
            yield Block(level, _plain(block).strip(), quoted=block[0].type == "blockquote_open")
            block = []


def first_time(marked: str) -> float | None:
    """Seconds of the first mark, None when there is none."""
    mark = _MARK.search(marked)
    return float(mark[1]) if mark else None


def without_times(marked: str) -> str:
    """The words alone."""
    return _MARK_IN_TEXT.sub("", marked).strip()


def _plain(block: list[Token]) -> str:
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
        elif token.type == "html_inline":
            parts.append(" ")  # most often a <br> in a table
        elif token.type == "link_open":
            link = len(parts)
        elif token.type == "link_close" and (time := _TIME.fullmatch("".join(parts[link:]).strip())):
            parts[link:] = [_mark(time)]
    return "".join(parts)


def _mark(time: re.Match[str]) -> str:
    hours, minutes, seconds = time.groups()
    return f"\x02{int(hours) * 3600 + int(minutes) * 60 + float(seconds)}\x03"
