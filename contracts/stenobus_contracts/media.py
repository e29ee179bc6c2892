"""A recording, image, PDF or text is available."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from .blob import Media
from .event import Event, Model

#: A language a document can be asked for in, ISO 639-1.
DocumentLanguage = Literal["en", "pt", "es"]

#: What an upload is. A .txt file is taken for a transcript unless it is said to be a document.
MediaKind = Literal["recording", "transcript", "document", "image"]

#: What a document can be had as beside Markdown and DOCX, which are always made.
ExtraFormat = Literal["html", "pdf"]


class OutputOptions(Model):
    """How a finished document is wanted; what is absent is as the output stage is set."""

    formats: tuple[ExtraFormat, ...] | None = Field(default=None, description="what to make beside Markdown and DOCX")
    template: Media | None = Field(
        default=None, description="DOCX or DOTX whose styles, page, header and footer the document takes"
    )


class MediaUploaded(Event, subject="media.uploaded"):
    """A recording (or image, PDF, text) is available. ``{"media": {"uri": "file:///talk.wav"}}`` is complete."""

    media: Media
    kind: MediaKind | None = Field(
        default=None, description="whose it is; told from media type, name and content when absent"
    )
    title: str | None = Field(default=None, max_length=500, description="title of the document to be")
    language: str | None = Field(
        default=None, description="spoken language, BCP 47 (en, pt-BR, es-CL); detected if absent"
    )
    document_language: DocumentLanguage | None = Field(
        default=None, description="language of the document; that of the recording if absent"
    )
    output: OutputOptions | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict, description="the producer's own facts, carried along")
