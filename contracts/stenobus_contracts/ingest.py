"""Documents that are read, and stores that tell of new objects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from .blob import BlobRef, Media
from .event import Event, Model
from .kb import Collection

#: What a document is about, as far as a reader can tell at a glance.
DocumentType = Literal[
    "article",
    "contract",
    "correspondence",
    "invoice",
    "manual",
    "minutes",
    "policy",
    "presentation",
    "report",
    "table",
    "other",
]

EntityKind = Literal["person", "organization", "place", "product", "email", "phone", "url", "amount", "identifier"]


class FoundDate(Model):
    """A date that a document names."""

    date: str = Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$", description="ISO 8601: a day, a month or a year")
    quote: str = Field(min_length=1, max_length=300, description="as the document writes it")


class FoundEntity(Model):
    """Somebody or something that a document names."""

    kind: EntityKind
    name: str = Field(min_length=1, max_length=300, description="as the document writes it")


class DocumentFacts(Model):
    """Result of ingest.extract: what a document says, in short."""

    title: str = Field(min_length=1, max_length=300)
    summary: str = Field(max_length=3000, description="in the document's own language")
    document_type: DocumentType = "other"
    dates: tuple[FoundDate, ...] = ()
    entities: tuple[FoundEntity, ...] = ()


class IngestedDocument(Model):
    """The record of a document that was read."""

    media: Media
    format: str = Field(description="pdf, docx, html, …")
    text: BlobRef = Field(description="the document as Markdown")
    facts: DocumentFacts
    method: Literal["model", "rule"] = Field(description="who found the facts: a language model, or rules")
    model: str | None = None
    author: str | None = None
    created: str | None = Field(default=None, description="as the file tells it")
    modified: str | None = Field(default=None, description="as the file tells it")
    language: str | None = None
    pages: int | None = Field(default=None, ge=0, description="pages, slides or sheets")
    warnings: tuple[str, ...] = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict, description="the producer's own facts")


class IngestDone(Event, subject="ingest.done"):
    """A document is read; its text and the record of what is in it are stored."""

    media: Media
    title: str
    collection: Collection
    document_id: str = Field(description="its id in the collection")
    format: str
    text: BlobRef = Field(description="the document as Markdown")
    record: BlobRef = Field(description="an IngestedDocument as JSON")
    method: Literal["model", "rule"]
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class StoreNotified(Event, subject="ingest.notified"):
    """A store tells that objects were made or removed. The body is the notification as the store wrote it.

    Amazon S3's own format, EventBridge, both of them inside SQS or SNS messages, and the object store of NATS.
    """
