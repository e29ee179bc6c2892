"""Code blocks: monospace, shaded, coloured where pygments knows the language."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pygments.lexers import get_lexer_by_name
from pygments.styles import get_style_by_name
from pygments.util import ClassNotFound

from .xml import Element, Marks, paragraph, run

#: Longer blocks stay black: colour helps nobody there and costs time.
_COLOURED = 20_000


def block(code: str, language: str) -> Element:
    """One paragraph with the whole block."""
    made = paragraph("CodeBlock")
    for text, marks in _runs(code.rstrip("\n"), language):
        made.append(run(text, marks))
    return made


def _runs(code: str, language: str) -> Iterator[tuple[str, Marks]]:
    name = language.split()[0].strip("{}.").lower() if language.strip() else ""
    if not name or len(code) > _COLOURED:
        yield code, Marks()
        return
    try:
        lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        yield code, Marks()
        return
    pending, shown = "", Marks()
    for kind, text in lexer.get_tokens(code):
        marks = _marks(kind)
        if marks != shown and pending:
            yield pending, shown
            pending = ""
        pending, shown = pending + text, marks
    if pending:
        yield pending, shown


@cache
def _marks(kind: Any) -> Marks:
    looks = _looks()
    while kind not in looks:
        kind = kind.parent  # a lexer's own kind of token looks like the general one
    look = looks[kind]
    return Marks(color=look["color"].upper() if look["color"] else None, bold=look["bold"], italic=look["italic"])


@cache
def _looks() -> dict[Any, Any]:
    return dict(get_style_by_name("friendly"))
