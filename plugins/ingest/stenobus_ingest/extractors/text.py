"""Plain text and Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ..extracted import Bounds, Extracted
from .decoding import text

#: Facts above a Markdown file, as static site generators write them.
_FRONT: Final = re.compile(r"\A---\n(.{0,20000}?)\n---\n", re.DOTALL)
_FACT: Final = re.compile(r"^(title|author|date|lang|language):[ \t]*[\"']?(.{1,500}?)[\"']?[ \t]*$", re.MULTILINE)


def extract(path: Path, bounds: Bounds) -> Extracted:
    """The file as it is, without the facts above it.

    Raises:
        Unreadable: it is no text.
    """
    content = text(path.read_bytes())
    front = _FRONT.match(content)
    facts = dict(_FACT.findall(front.group(1))) if front else {}
    return Extracted(
        markdown=content[front.end() :].strip() if front else content.strip(),
        title=facts.get("title"),
        author=facts.get("author"),
        created=facts.get("date"),
        language=facts.get("lang") or facts.get("language"),
    )
