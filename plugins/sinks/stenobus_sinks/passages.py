"""Texts into passages for indexes that take no whole documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Raise it when the same text yields other passages: it is part of a sink's version.
VERSION: Final = 1
#: Longest passage in characters, some 200 words: within reach of small embedding models.
MAX_CHARACTERS: Final = 1_200

_HEADING: Final = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
_BREAKS: Final = ("\n", ". ", "? ", "! ", "; ", " ")


def passages(text: str) -> list[str]:
    """Cut a Markdown or plain text at its headings, then at paragraphs, in reading order. Nothing is left out but blank
    space; a text without any words is one empty passage."""
    found: list[str] = []
    for section in _sections(text.strip()):
        packed = ""
        for piece in (piece for block in re.split(r"\n\s*\n", section) for piece in _split(block.strip())):
            if packed and len(packed) + len(piece) + 2 > MAX_CHARACTERS:
                found.append(packed)
                packed = ""
            packed = f"{packed}\n\n{piece}" if packed else piece
        if packed:
            found.append(packed)
    return found or [""]


def _sections(text: str) -> Iterator[str]:
    starts = [match.start() for match in _HEADING.finditer(text)]
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        if start < end:
            yield text[start:end]


def _split(block: str) -> Iterator[str]:
    """Parts of at most the longest passage, ending at a line, a sentence or a word where there is one."""
    while len(block) > MAX_CHARACTERS:
        middle = MAX_CHARACTERS // 2
        ends = (block.rfind(mark, middle, MAX_CHARACTERS) + len(mark) for mark in _BREAKS)
        end = next((end for end in ends if end > middle), MAX_CHARACTERS)
        yield block[:end].strip()
        block = block[end:].lstrip()
    if block:
        yield block
