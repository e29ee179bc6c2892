"""CSV as RFC 4180 has it: commas, CRLF, quotes doubled, UTF-8, one header line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from .html import one_line
from .records import Record

RAW = ("id", "slug", "status", "link", "date", "modified_gmt", "title", "content", "excerpt", "data")
#: Metadata columns come behind these.
VECTORIAL = ("id", "title", "text", "url")


def table(header: Sequence[str], rows: Iterable[Mapping[str, JsonValue]]) -> bytes:
    """A table. What is no text is written as JSON; what a row does not have is empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_cell(row.get(name)) for name in header] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def raw(records: Iterable[Record]) -> bytes:
    """Records as they were read, a line each; whatever has no column of its own is JSON in the last one."""
    return table(RAW, (_raw(record) for record in records))


def _raw(record: Record) -> dict[str, JsonValue]:
    own: dict[str, JsonValue] = {name: _rendered(record.data.get(name)) for name in RAW[1:-1]}
    rest: JsonValue = {name: value for name, value in record.data.items() if name not in own}
    title = own["title"]
    return {
        **own,
        "id": record.id,
        "title": one_line(title) if isinstance(title, str) else title,
        "modified_gmt": record.modified.isoformat() if record.modified else None,
        "data": rest,
    }


def _rendered(value: JsonValue) -> JsonValue:
    return value.get("rendered") if isinstance(value, dict) and "rendered" in value else value


def _cell(value: JsonValue) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.replace("\x00", "")
