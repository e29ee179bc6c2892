"""Bring a collection of the knowledge base up to date."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from .blob import BlobRef
from .event import Event, Model

Collection = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Source = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="a name, such as wordpress.event")]


class KbDocument(Model):
    """A document to be found."""

    id: str = Field(min_length=1, max_length=500, description="stable across versions")
    title: str
    content: BlobRef = Field(description="Markdown or plain text")
    uri: str | None = Field(default=None, description="where people read it")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    principals: tuple[str, ...] = Field(
        default=(), description="who may find it, such as group:support; everybody when empty"
    )


class KbSync(Event, subject="kb.sync"):
    """Bring a collection up to date: add or replace documents, remove ids."""

    collection: Collection
    upsert: tuple[KbDocument, ...] = ()
    documents: BlobRef | None = Field(
        default=None, description="more documents to add or replace, one JSON object a line: what is too long an event"
    )
    delete: tuple[str, ...] = ()
    source: Source | None = Field(default=None, description="where the documents come from; see kb.listed")
    dataset: str | None = Field(
        default=None,
        max_length=200,
        description="version of what the documents were taken from, as its source names it",
    )


class KbListed(Event, subject="kb.listed"):
    """What a source holds now. Who is not in it any more is to be removed from the collection, with due care."""

    collection: Collection
    source: Source = Field(description="only documents that came from it are compared")
    listing: BlobRef = Field(description="every id the source holds, one a line")
    count: int = Field(ge=0, description="lines of the listing")
    complete: bool = Field(description="whether the source proved that nothing is missing; else nothing is removed")


class KbSynced(Event, subject="kb.synced"):
    """What changed in a collection."""

    collection: str
    sink: str = Field(description="which index: local, opensearch, …")
    added: int = Field(default=0, ge=0)
    updated: int = Field(default=0, ge=0)
    unchanged: int = Field(default=0, ge=0)
    deleted: int = Field(default=0, ge=0)
    chunks: int = Field(default=0, ge=0, description="chunks in the collection afterwards")
    source: Source | None = Field(default=None, description="that of the kb.sync, for whoever waits for it")
    dataset: str | None = Field(default=None, max_length=200, description="that of the kb.sync")
    failed: int = Field(default=0, ge=0, description="documents that the sink could not take; the others are in it")
    problems: tuple[str, ...] = Field(
        default=(), max_length=100, description="why documents failed, a sentence each; not necessarily all of them"
    )
