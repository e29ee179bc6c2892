"""Tables: CSV files, and rows as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from .decoding import text

#: Characters of one cell.
_CELL: Final = 131_072
_SAMPLE: Final = 65_536


def extract(path: Path, bounds: Bounds) -> Extracted:
    """The rows of a CSV file as one table; its first row is the head.

    Raises:
        Unreadable: it is no text, has too many rows, or a cell without an end.
    """
    content = text(path.read_bytes())
    csv.field_size_limit(_CELL)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(content[:_SAMPLE], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel  # one column, or too few rows to tell
    rows = []
    try:
        for number, row in enumerate(csv.reader(content.splitlines(keepends=True), dialect), start=1):
            bounds.rows_read(number)
            rows.append(row)
    except csv.Error as error:
        raise Unreadable("damaged", f"is damaged: {error}; check its quotes.") from error
    return Extracted(markdown=markdown(rows))


def markdown(rows: Iterable[Sequence[object]]) -> str:
    """Rows as a Markdown table, empty rows and columns left out; empty when nothing is left."""
    filled = [[_cell(cell) for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    width = max((len(row) for row in filled), default=0)
    filled = [row + [""] * (width - len(row)) for row in filled]
    used = [column for column in range(width) if any(row[column] for row in filled)]
    if not used:
        return ""
    lines = ["| " + " | ".join(row[column] for column in used) + " |" for row in filled]
    return "\n".join([lines[0], "|" + " --- |" * len(used), *lines[1:]])


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")
