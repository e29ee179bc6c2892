"""The plugin keeps every rule of the kit."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import BlobRef, KbSynced
from stenobus_core import remembered
from stenobus_sources.events import SourceDue, SourceExtracted, SourceLoaded, SourcePrepared, SourceWanted
from stenobus_sources.records import Record, lines
from stenobus_sources.service import plugin
from stenobus_testing import Stage, conformance
from stenobus_testing.rules import Trial

_PLACE = tempfile.TemporaryDirectory(prefix="stenobus-sources-")  # gone with the session
FOLDER = Path(_PLACE.name)
(FOLDER / "in").mkdir()
(FOLDER / "in" / "disk.md").write_text("# Disk\n\nFree it.")

RUN = {"source": "handbook", "collection": "handbook", "reads": "changes", "run_version": "20260906T040000Z"}


async def records(stage: Stage) -> BlobRef:
    record = Record(id="disk.md", data={"title": "Disk", "body": "Free it.", "link": "file:///disk.md"})
    return await stage.put(lines([record]), "application/jsonl")


async def due(stage: Stage) -> SourceDue:
    return SourceDue()


async def wanted(stage: Stage) -> SourceWanted:
    return SourceWanted(source="handbook")


async def extracted(stage: Stage) -> SourceExtracted:
    listing = await stage.put(b"handbook/disk.md\n")
    return SourceExtracted(**RUN, began=datetime.now(UTC), records=await records(stage), listing=listing, complete=True)


async def prepared(stage: Stage) -> SourcePrepared:
    content = {"id": "handbook/disk.md", "title": "Disk", "content": (await stage.put(b"# Disk")).model_dump()}
    documents = await stage.put(json.dumps(content).encode() + b"\n")
    listing = await stage.put(b"handbook/disk.md\n")
    return SourcePrepared(
        **RUN, began=datetime.now(UTC), counts={"changed": 1, "listed": 1}, documents=documents, listing=listing
    )


async def loaded(stage: Stage) -> SourceLoaded:
    return SourceLoaded(**RUN, began=datetime.now(UTC))


async def synced(stage: Stage) -> KbSynced:
    return KbSynced(collection="handbook", sink="local", source="handbook", dataset="x", added=1)


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event of a rule is a run of its own, and the one before never gets to its last step, which frees the
    collection."""
    publish = Trial.publish

    async def freed(trial: Trial, *arguments: Any, **more: Any) -> Any:
        await trial.stage.bus.api(f"STREAM.PURGE.KV_{remembered.BUCKET}")
        return await publish(trial, *arguments, **more)

    monkeypatch.setattr(Trial, "publish", freed)


TestSources = conformance(
    plugin,
    examples=[due, wanted, extracted, prepared, loaded, synced],
    settings={
        "files": [{"name": "handbook", "place": str(FOLDER / "in"), "collection": "handbook"}],
        "output": str(FOLDER / "out"),
    },
)
