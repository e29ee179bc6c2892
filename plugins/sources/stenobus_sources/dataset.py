"""The files of a run: tables as read and as searched, and a dataset with what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, ValidationError

from .catalogue import Origin, Posts
from .events import Counts
from .kinds import Page
from .prepare import Prepared, document_id
from .tables import VECTORIAL, raw, table

CSV: Final = "text/csv; charset=utf-8; header=present"
LINES: Final = "application/jsonl"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class File:
    """One file under its name."""

    uri: str
    content: bytes
    content_type: str


def files(origin: Origin, version: str, prepared: Prepared, counts: Counts) -> list[File]:
    """All files of a run, the manifest last: where it lies, the others do.

    What a record was sent as stays in, even if the site has changed it into something that breaks its schema.
    """
    pages = dict(_pages(origin, prepared))
    rows = [_row(origin, name, page) for name, page in pages.items()]
    place = origin.places.dataset(version)
    found = []
    if isinstance(origin, Posts):
        searched = _vectorial(rows, sorted(set(type(next(iter(pages.values()))).labels) if pages else ()))
        vectorial = origin.places.table("vectorial", version)
        found += [
            File(origin.places.table("raw", version), raw(prepared.records.values()), CSV),
            File(vectorial, searched, CSV),
            File(f"{vectorial}.metadata.json", _described(searched), JSON),
        ]
    found.append(File(f"{place}documents.jsonl", _lines(rows), LINES))
    if prepared.refused:
        refused: Iterable[dict[str, JsonValue]] = (
            {"id": name, "reason": one.reason, "record": prepared.records[name].model_dump(mode="json")}
            for name, one in sorted(prepared.refused.items())
            if name in prepared.records
        )
        found.append(File(f"{place}quarantine.jsonl", _lines(refused), LINES))
    manifest: dict[str, JsonValue] = {
        "source": origin.name,
        "collection": origin.collection,
        "version": version,
        "documents": len(rows),
        "counts": counts.model_dump(),
        "files": [
            {"uri": file.uri, "bytes": len(file.content), "sha256": hashlib.sha256(file.content).hexdigest()}
            for file in found
        ],
    }
    return [*found, File(f"{place}manifest.json", json.dumps(manifest, indent=2).encode() + b"\n", JSON)]


def _pages(origin: Origin, prepared: Prepared) -> Iterable[tuple[str, Page]]:
    for name, record in prepared.records.items():
        if name in prepared.changed:
            yield name, prepared.changed[name]
        elif name in prepared.known:
            try:
                yield name, origin.shape(record)
            except ValidationError:
                continue  # its new version is in quarantine


def _row(origin: Origin, name: str, page: Page) -> dict[str, JsonValue]:
    return {
        "id": document_id(origin.name, name),
        "title": page.title,
        "text": page.text(),
        "url": page.link,
        "metadata": page.metadata(),
    }


def _vectorial(rows: list[dict[str, JsonValue]], more: list[str]) -> bytes:
    flat = ({**row, **(metadata if isinstance(metadata := row["metadata"], dict) else {})} for row in rows)
    return table([*VECTORIAL, *more], flat)


def _described(searched: bytes) -> bytes:
    """What Amazon Bedrock wants to know of a CSV: the one column to embed, and those to filter by."""
    header = searched.partition(b"\r\n")[0].decode().split(",")
    described = {
        "metadataAttributes": {},
        "documentStructureConfiguration": {
            "type": "RECORD_BASED_STRUCTURE_METADATA",
            "recordBasedStructureMetadata": {
                "contentFields": [{"fieldName": "text"}],
                "metadataFieldsSpecification": {
                    "fieldsToInclude": [{"fieldName": name} for name in header if name != "text"],
                    "fieldsToExclude": [],
                },
            },
        },
    }
    return json.dumps(described, indent=2).encode() + b"\n"


def _lines(rows: Iterable[dict[str, JsonValue]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)
