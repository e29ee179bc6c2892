"""Bring a collection of the knowledge base up to date."""

from __future__ import annotations

from pydantic import Field, JsonValue

from .blob import BlobRef
from .event import Event, Model


class KbDocument(Model):
    """A document to be found."""

    id: str = Field(min_length=1, max_length=500, description="stable across versions")
    title: str
    content: BlobRef = Field(description="Markdown or plain text")
    uri: str | None = Field(default=None, description="where people read it")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class KbSync(Event, subject="kb.sync"):
    """Bring a collection up to date: add or replace documents, remove ids."""

    collection: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    upsert: tuple[KbDocument, ...] = ()
    delete: tuple[str, ...] = ()


class KbSynced(Event, subject="kb.synced"):
    """What changed in a collection."""

    collection: str
    sink: str = Field(description="which index: local, opensearch, …")
    added: int = Field(default=0, ge=0)
    updated: int = Field(default=0, ge=0)
    unchanged: int = Field(default=0, ge=0)
    deleted: int = Field(default=0, ge=0)
    chunks: int = Field(default=0, ge=0, description="chunks in the collection afterwards")
