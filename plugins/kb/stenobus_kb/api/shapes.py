"""What the API takes and gives, as the OpenAPI document says it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..filters import Value

#: Characters of a query.
LONGEST_QUERY = 1_000
#: Names in one filter.
MOST_NAMES = 50


class Search(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        min_length=1,
        max_length=LONGEST_QUERY,
        description='any text; `"quoted words"` are a phrase',
        examples=["disk full"],
    )
    collections: list[str] | None = Field(
        default=None, max_length=MOST_NAMES, description="only these; all that the caller may search when absent"
    )
    sources: list[str] | None = Field(
        default=None, max_length=MOST_NAMES, description="only documents from these sources"
    )
    metadata: dict[str, Value] = Field(
        default_factory=dict,
        max_length=MOST_NAMES,
        description="fields that a document's metadata must have, with these values or with lists that hold them",
    )
    principals: list[str] | None = Field(
        default=None,
        max_length=MOST_NAMES,
        description="search as somebody who is these; for callers who may see everything, or are these themselves",
    )
    limit: int = Field(default=10, ge=1, le=100, description="most results")
    offset: int = Field(default=0, ge=0, le=900, description="best results to leave out, for the next page")


class Result(BaseModel):
    """A passage that answers the query."""

    document: str
    collection: str
    title: str
    heading: str = Field(description="heading path within the document; empty for text before the first heading")
    snippet: str
    highlights: list[tuple[int, int]] = Field(
        description="start and end of each matched word in the snippet, in characters"
    )
    score: float = Field(description="higher is better; comparable within one answer only")
    uri: str | None
    start: float | None = Field(description="where the recording says it, in seconds")
    link: str | None = Field(description="the uri at that second; players jump there")
    source: str | None
    metadata: dict[str, Any]


class Results(BaseModel):
    """The best results, best first; at most three of one document."""

    query: str
    results: list[Result]
    next_offset: int | None = Field(description="the offset of the next page; null when there is none")
    milliseconds: float


class CollectionFound(BaseModel):
    """A collection, counted by what the caller may see of it."""

    name: str
    documents: int
    chunks: int


class Collections(BaseModel):
    """All collections of which the caller may see something."""

    collections: list[CollectionFound]


class DocumentFound(BaseModel):
    """A document without its text."""

    collection: str
    id: str
    title: str
    uri: str | None
    source: str | None
    dataset: str | None
    metadata: dict[str, Any]


class PassageFound(BaseModel):
    """A part of a document's text."""

    heading: str
    text: str
    start: float | None


class DocumentText(DocumentFound):
    """A document and its text, as the index holds it."""

    passages: list[PassageFound]


class Documents(BaseModel):
    """Documents by collection and id."""

    documents: list[DocumentFound]
    next: str | None = Field(description="give it as `after` for the next page; null when there is none")
