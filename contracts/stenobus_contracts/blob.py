"""References to content that never rides in an event."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from .event import Model

Uri = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*://.+", max_length=4096)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BlobRef(Model):
    """Stored content whose bytes are known: a reader verifies the hash."""

    uri: Uri = Field(description="where the bytes are: nats://bucket/key, file:///path or s3://bucket/key")
    sha256: Sha256 = Field(description="SHA-256 of the bytes, hexadecimal")
    size: int = Field(ge=0, description="length in bytes")
    content_type: str = Field(default="application/octet-stream", description="media type (RFC 6838)")


class Media(Model):
    """Content as a producer knows it: only the address is certain."""

    uri: Uri = Field(description="file:///path, nats://bucket/key or s3://bucket/key")
    name: str | None = Field(default=None, description="name for people; derived from the URI when absent")
    content_type: str | None = Field(default=None, description="media type; detected from the content when absent")
    sha256: Sha256 | None = Field(default=None, description="verified when given")
    size: int | None = Field(default=None, ge=0, description="length in bytes; verified when given")
    duration_seconds: float | None = Field(default=None, ge=0, description="length of the recording in seconds")

    @property
    def title(self) -> str:
        """The name for people: what the producer gave, or the last part of the URI."""
        return self.name or self.uri.rstrip("/").rpartition("/")[2]
