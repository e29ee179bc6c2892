"""The events of a run: due → wanted → extracted → prepared → loaded → done.

Each step is a handler of its own, so that each is tried again by itself, and taken up where it was by whoever is there
after a crash.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from stenobus_contracts import BlobRef, Event, Model
from stenobus_contracts.kb import Collection, Source

#: What a run reads: what changed since the last one, everything, or only what is there.
Pass = Literal["changes", "full", "listing"]


class Counts(Model):
    """How many records a run met, and what became of them."""

    found: int = Field(default=0, ge=0, description="records that were read")
    listed: int = Field(default=0, ge=0, description="records that the source holds, where it was asked")
    changed: int = Field(default=0, ge=0, description="records that are new or differ from what was sent before")
    unchanged: int = Field(default=0, ge=0, description="records that are as they were sent before")
    quarantined: int = Field(default=0, ge=0, description="records that break their schema")
    failed: int = Field(default=0, ge=0, description="records that could not be read")
    gone: int = Field(default=0, ge=0, description="records that the last two complete listings lacked")
    requests: int = Field(default=0, ge=0, description="requests that were sent to the source")

    def told(self) -> str:
        """Those that are not 0, for people."""
        named = {name: value for name, value in self.model_dump().items() if name in type(self).model_fields}
        return ", ".join(f"{value} {name}" for name, value in named.items() if value) or "nothing found"


class SourceDue(Event, subject="source.due"):
    """It is time to look at sources."""

    reads: Pass = "changes"
    sources: tuple[Source, ...] = Field(default=(), description="which of them; all that are configured when empty")


class SourceWanted(Event, subject="source.wanted"):
    """One source is to be read."""

    source: Source
    reads: Pass = "changes"


class SourceRun(Event):
    """What all steps of a run know about it."""

    source: Source
    collection: Collection
    reads: Pass
    run_version: str = Field(max_length=40, description="what this run's dataset is called, such as 20260906T030000Z")
    began: datetime = Field(description="when the first attempt to read the source began")
    counts: Counts = Counts()


class SourceExtracted(SourceRun, subject="source.extracted"):
    """A source was read."""

    records: BlobRef = Field(description="what was read, one record a line")
    listing: BlobRef | None = Field(default=None, description="every id the source holds, one a line")
    complete: bool = Field(default=False, description="whether it is proven that the listing lacks nothing")
    cursor: datetime | None = Field(default=None, description="latest modification that was seen")
    failures: tuple[str, ...] = Field(default=(), description="the first records that could not be read, and why")


class SourcePrepared(SourceRun, subject="source.prepared"):
    """What was read is cleaned, checked and compared with what was sent before."""

    documents: BlobRef | None = Field(default=None, description="documents that changed, one a line; none when absent")
    listing: BlobRef | None = None
    complete: bool = False
    state: BlobRef | None = Field(default=None, description="what will be known of the source; absent: what is known")
    dataset: str | None = Field(default=None, description="address of the dataset that was written, if any")


class SourceLoaded(SourceRun, subject="source.loaded"):
    """What changed is on its way into the collection."""

    dataset: str | None = Field(default=None, description="as kb.sync and kb.synced name it; absent when none was sent")
    sent: int = Field(default=0, ge=0, description="documents that were sent")
    state: BlobRef | None = None


class SourceDone(SourceRun, subject="source.done"):
    """A run is over, and what it sent has arrived."""

    dataset: str | None = None
    sinks: tuple[str, ...] = Field(default=(), description="indexes that said so")
    added: int = Field(default=0, ge=0)
    updated: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0, description="from the beginning of the first step")
