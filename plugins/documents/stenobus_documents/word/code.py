"""Code blocks: monospace, shaded, coloured where pygments knows the language."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.styles import get_style_by_name
from pygments.util import ClassNotFound

from .xml import PLAIN, Marks, Xml, run

#: The one style of pygments whose colours all stand out from the shade of a block as far as WCAG AA asks.
STYLE: Final = "xcode"
#: Longer blocks stay black: colour helps nobody there and costs time.
COLOURED: Final = 20_000


def runs(code: str, info: str) -> Xml:
    """The runs of a whole block; ``info`` is what follows the opening fence."""
    return "".join(run(text, marks) for text, marks in _runs(code.rstrip("\n"), info))


def lexer(info: str, code: str) -> Lexer | None:
    """What can colour the block, None when the language is not known or the block is too long."""
    name = info.split()[0].strip("{}.").lower() if info.strip() else ""
    return _lexer(name) if name and len(code) <= COLOURED else None


def _runs(code: str, info: str) -> Iterator[tuple[str, Marks]]:
    found = lexer(info, code)
    if found is None:
        yield code, PLAIN
        return
    pending, shown = "", PLAIN
    for kind, text in found.get_tokens(code):
        marks = _marks(kind) if not text.isspace() else shown
        if marks != shown and pending:
            yield pending, shown
            pending = ""
        pending, shown = pending + text, marks
    if pending:
        yield pending, shown


@cache
def _lexer(name: str) -> Lexer | None:
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@cache
def _marks(kind: Any) -> Marks:
    looks = _looks()
    while kind not in looks:
        kind = kind.parent  # a lexer's own kind of token looks like the general one
    look = looks[kind]
    return Marks(color=look["color"].upper() if look["color"] else None, bold=look["bold"], italic=look["italic"])


@cache
def _looks() -> dict[Any, Any]:
    return dict(get_style_by_name(STYLE))
