"""Workbooks, by openpyxl."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from lxml.etree import XMLSyntaxError  # type: ignore[import-untyped]
from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from ..archive import check
from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from . import properties, table

#: Columns of one row: files that style whole rows have sixteen thousand, all empty.
_COLUMNS = 1000


def extract(path: Path, bounds: Bounds) -> Extracted:
    """Every visible sheet that holds something, as a table; of formulas, the values that were saved with them.

    Raises:
        Unreadable: it is damaged, or has too many sheets or rows.
    """
    check(path, bounds)
    try:
        with path.open("rb") as file:  # a path would have to end in .xlsx
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            bounds.pages_read(len(book.worksheets))
            counted = _Counted(bounds)
            sheets = [
                (sheet.title, table.markdown(counted.rows(sheet)))
                for sheet in book.worksheets
                if sheet.sheet_state == "visible"
            ]
    except (InvalidFileException, BadZipFile, XMLSyntaxError, ParseError) as error:
        raise Unreadable("damaged", "is damaged: its sheets cannot be read; save it anew.") from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
        raise Unreadable("damaged", "is damaged: its sheets do not fit together; save it anew.") from error
    return properties.told(path, "\n\n".join(f"## {title}\n\n{rows}" for title, rows in sheets if rows), len(sheets))


class _Counted:
    """Rows of all sheets, up to the bound."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds, self._count = bounds, 0

    def rows(self, sheet: Any) -> Iterator[list[object]]:
        for row in sheet.iter_rows(values_only=True, max_col=_COLUMNS):
            if any(cell is not None for cell in row):
                self._count += 1
                self._bounds.rows_read(self._count)
                yield [_plain(cell) for cell in row]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time().isoformat() == "00:00:00" else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
