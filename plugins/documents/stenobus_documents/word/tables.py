"""Tables: aligned columns, a header row that is repeated on every page, rows that stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markdown_it.tree import SyntaxTreeNode

from ..headings import plain
from .build import Build
from .inline import Inline
from .xml import BREAK, Xml, paragraph

#: Word refuses files with wider tables.
COLUMNS: Final = 63
#: Rows a table may have; programs take minutes to lay out longer ones.
ROWS: Final = 5_000
#: Width of a character of a cell's text and of a header's, roughly, and the least width of a column, in twentieths of a
#: point. A template's font may be wide.
_CHARACTER: Final = 105
_BOLD: Final = 130
_NARROWEST: Final = 640
_PADDING: Final = 220
#: A row with more characters in one cell may break over pages, lest it leaves half of one empty.
_TALL: Final = 500
#: A table of fewer rows and characters than these stays on one page.
_FEW_ROWS, _FEW_CHARACTERS = 10, 1200


def table(node: SyntaxTreeNode, inline: Inline, build: Build, left: int = 0) -> list[Xml]:
    """The table, as wide as its text needs and as there is room; more than one when it has too many columns.

    Args:
        left: its indent, in twentieths of a point.
    """
    head = [row for part in node.children if part.type == "thead" for row in part.children]
    body = [row for part in node.children if part.type == "tbody" for row in part.children]
    if len(body) > ROWS:
        build.lose("table row", f"a table ends after {ROWS} rows", len(body) - ROWS)
        body = body[:ROWS]
    cells = [list(row.children) for row in (*head, *body)]
    count = max(map(len, cells), default=0)
    if count > COLUMNS:
        build.lose("table", f"Word knows {COLUMNS} columns; the table goes on in another below it")
    made = []
    for start in range(0, count, COLUMNS):
        if start:
            made.append(paragraph(build.styles["Spacer"]))
        part = [row[start : start + COLUMNS] for row in cells]
        made.append(_table(part, len(head), inline, build, left))
    return made


def _table(rows: Sequence[Sequence[SyntaxTreeNode]], heads: int, inline: Inline, build: Build, left: int) -> Xml:
    texts = [[plain(cell) for cell in row] for row in rows]
    columns = widths(texts, build.width - left)
    grid = "".join(f'<w:gridCol w:w="{column}"/>' for column in columns)
    opened = [f'<w:tc><w:tcPr><w:tcW w:w="{column}" w:type="dxa"/></w:tcPr>' for column in columns]
    made = [_properties(sum(columns), build.styles["DocumentTable"], left, header=heads > 0), grid, "</w:tblGrid>"]
    small = len(rows) < _FEW_ROWS and sum(len(text) for row in texts for text in row) < _FEW_CHARACTERS
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        head = number < heads
        style = build.styles["TableHead" if head else "TableText"]
        keep = small and number + 1 < len(rows)
        whole = "<w:cantSplit/>" if max(map(len, text), default=0) < _TALL else ""
        about = f"<w:trPr>{whole}{'<w:tblHeader/>' if head else ''}</w:trPr>" if whole or head else ""
        content = "".join(
            f"{width}{_cell(cell, inline, style, keep=keep)}</w:tc>" for width, cell in zip(opened, row, strict=True)
        )
        made.append(f"<w:tr>{about}{content}</w:tr>")
    return f"<w:tbl>{''.join(made)}</w:tbl>"


def _properties(width: int, style: str, left: int, *, header: bool) -> Xml:
    indent = f'<w:tblInd w:w="{left}" w:type="dxa"/>' if left else ""
    look = f'w:val="{"0420" if header else "0400"}" w:firstRow="{int(header)}" w:lastRow="0" w:firstColumn="0"'
    return (
        f'<w:tblPr><w:tblStyle w:val="{style}"/><w:tblW w:w="{width}" w:type="dxa"/>{indent}'
        f'<w:tblLayout w:type="fixed"/><w:tblLook {look} w:lastColumn="0" w:noHBand="0" w:noVBand="1"/></w:tblPr>'
        "<w:tblGrid>"
    )


def _cell(cell: SyntaxTreeNode, inline: Inline, style: str, *, keep: bool) -> Xml:
    """A cell's content: a line break between two things said begins a paragraph."""
    side = str(cell.attrs.get("style", "")).removeprefix("text-align:")
    parts: list[list[Xml]] = [[]]
    for content in cell.children:
        for piece in inline.runs(content.children, breaks=True):
            if piece is BREAK:
                parts.append([])
            else:
                parts[-1].append(piece)
    side = side if side in {"center", "right"} else ""
    return "".join(paragraph(style, "".join(part), side=side, keep=keep) for part in parts)


def widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Columns by how much they have to say; in a full table none is narrower than its longest word if there is room."""
    columns = list(zip(*rows, strict=True))
    least = []
    for title, *cells in columns:
        longest = max(_longest(title) * _BOLD, max(map(_longest, cells), default=0) * _CHARACTER)
        least.append(max(_NARROWEST, longest + _PADDING))
    if sum(least) > width:
        fair = width * 9 // 10 // len(columns)
        least = [min(fair, each) for each in least]
    wanted = [
        max(floor, max(min(len(cell), 90) for cell in cells) * _CHARACTER + _PADDING)
        for floor, cells in zip(least, columns, strict=True)
    ]
    if sum(wanted) <= width:
        return wanted
    spare = [want - floor for want, floor in zip(wanted, least, strict=True)]
    room = max(0, width - sum(least))
    return _scaled(
        [floor + room * share // (sum(spare) or 1) for floor, share in zip(least, spare, strict=True)], width
    )


def _longest(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _scaled(widths: Sequence[int], width: int) -> list[int]:
    scaled = [each * width // sum(widths) for each in widths]
    scaled[-1] += width - sum(scaled)
    return scaled
