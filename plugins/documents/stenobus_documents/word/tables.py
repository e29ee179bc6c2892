"""Tables: aligned columns, a header row that is repeated on every page, rows that stay whole."""

from __future__ import annotations

from collections.abc import Sequence

from docx.oxml.ns import qn
from markdown_it.tree import SyntaxTreeNode

from .inline import Inline
from .xml import Element, element, paragraph

#: Width of a character of a cell's text, roughly, and the least width of a column, in twentieths of a point.
_CHARACTER = 105
_NARROWEST = 640
#: A row with more characters in one cell may break over pages, lest it leaves half of one empty.
_TALL = 500


def table(node: SyntaxTreeNode, inline: Inline, width: int) -> Element:
    """The table: as wide as its text needs, at most ``width`` twentieths of a point."""
    head = [row for part in node.children if part.type == "thead" for row in part.children]
    body = [row for part in node.children if part.type == "tbody" for row in part.children]
    columns = _widths([[_text(cell) for cell in row.children] for row in (*head, *body)], width)
    made = element("w:tbl")
    made.append(_properties(sum(columns), header=bool(head)))
    grid = element("w:tblGrid")
    grid.extend(element("w:gridCol", w=column) for column in columns)
    made.append(grid)
    for row in head:
        made.append(_row(row, columns, inline, "TableHead"))
    for row in body:
        made.append(_row(row, columns, inline, "TableText"))
    return made


def _properties(width: int, *, header: bool) -> Element:
    made = element("w:tblPr")
    made.append(element("w:tblStyle", val="DocumentTable"))
    made.append(element("w:tblW", w=width, type="dxa"))
    made.append(element("w:tblLayout", type="fixed"))
    look = {"firstRow": int(header), "lastRow": 0, "firstColumn": 0, "lastColumn": 0, "noHBand": 0, "noVBand": 1}
    made.append(element("w:tblLook", val="0420" if header else "0400", **look))
    return made


def _row(node: SyntaxTreeNode, columns: Sequence[int], inline: Inline, style: str) -> Element:
    row = element("w:tr")
    properties = element("w:trPr")
    if max((len(_text(cell)) for cell in node.children), default=0) < _TALL:
        properties.append(element("w:cantSplit"))
    if style == "TableHead":
        properties.append(element("w:tblHeader"))
    row.append(properties)
    for width, cell in zip(columns, node.children, strict=True):
        made = element("w:tc")
        about = element("w:tcPr")
        about.append(element("w:tcW", w=width, type="dxa"))
        made.append(about)
        side = str(cell.attrs.get("style", "")).removeprefix("text-align:")
        runs = [run for content in cell.children for run in inline.runs(content.children, breaks=True)]
        made.extend(_paragraphs(runs, style, side))
        row.append(made)
    return row


def _paragraphs(runs: Sequence[Element], style: str, side: str) -> list[Element]:
    """A cell's content: a line break between two things said begins a paragraph."""
    made: list[Element] = []
    for run in (None, *runs):
        if run is None or [part.tag for part in run] == [qn("w:br")]:
            made.append(paragraph(style))
            if side in {"center", "right"}:
                made[-1].get_or_add_pPr().append(element("w:jc", val=side))
        else:
            made[-1].append(run)
    return made


def _text(cell: SyntaxTreeNode) -> str:
    return "".join(
        node.content if node.type in {"text", "code_inline"} else " "
        for content in cell.children
        for node in content.walk()
        if not node.children
    )


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Columns by how much they have to say; in a full table none is narrower than its longest word if there is room."""
    count = max(map(len, rows), default=1)
    cells = [[row[column] for row in rows] for column in range(count)]
    fair = width * 9 // 10 // count
    least = [
        min(fair, max([_NARROWEST, *(len(word) * _CHARACTER + 220 for cell in column for word in cell.split())]))
        for column in cells
    ]
    wanted = [
        max(floor, max(min(len(cell), 90) for cell in column) * _CHARACTER + 220)
        for floor, column in zip(least, cells, strict=True)
    ]
    if sum(wanted) <= width:
        return wanted
    spare = [max(0, want - floor) for want, floor in zip(wanted, least, strict=True)]
    room = width - sum(least)
    return _scaled([floor + room * share // sum(spare) for floor, share in zip(least, spare, strict=True)], width)


def _scaled(widths: Sequence[int], width: int) -> list[int]:
    scaled = [each * width // sum(widths) for each in widths]
    scaled[-1] += width - sum(scaled)
    return scaled
