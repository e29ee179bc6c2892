"""What to process: a file, or a classic job event."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import AsrDone, DocumentLanguage, Event, ExtraFormat, Media, MediaUploaded, OutputOptions

from .errors import StenobusError
from .file_store import file_uri
from .kinds import Kind, kind_by_name
from .services import Services

#: What may hold a transcript; everything else is taken for a recording.
TRANSCRIPTS: Final = frozenset({".json", ".srt", ".vtt", ".txt"})


class JobError(StenobusError):
    """The job failed.

    Args:
        status: 400 when the input is to blame, else 500.
        error: name of the error for machines.
    """

    def __init__(self, message: str, *, status: Literal[400, 500] = 400, error: str = "InvalidInput") -> None:
        super().__init__(message)
        self.status, self.error = status, error

    @property
    def response(self) -> dict[str, Any]:
        """The classic response."""
        return {"statusCode": self.status, "body": {"error": self.error, "message": str(self)}}


class _VideoMetadata(BaseModel):
    model_config = ConfigDict(extra="allow")

    duration: float | None = Field(default=None, ge=0)
    size_bytes: int | None = Field(default=None, ge=0)


class _ClassicEvent(BaseModel):
    """The classic job event."""

    model_config = ConfigDict(extra="allow")

    execution_id: str = Field(min_length=1, max_length=200)
    video_s3_uri: str | None = None
    transcription_s3_uri: str | None = None
    video_metadata: _VideoMetadata = _VideoMetadata()
    document_language: DocumentLanguage | None = None
    output: OutputOptions | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What to process."""

    execution_id: str
    event: Event

    @property
    def name(self) -> str:
        """What people call the input."""
        media = getattr(self.event, "media", None) or getattr(self.event, "transcript", None)
        return media.title if isinstance(media, Media) else self.execution_id

    @property
    def stem(self) -> str:
        """Name for the files of the result: the input's own, without its extension."""
        return slug(Path(unquote(self.name)).stem)

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        title: str | None = None,
        language: str | None = None,
        document_language: DocumentLanguage | None = None,
        output: OutputOptions | None = None,
    ) -> Job:
        """A job for a local file.

        Raises:
            JobError: there is no such file, it is empty, cannot be read, or is a document already.
        """
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise JobError(f"{path} is no regular file; write its content into one.")
            with path.open("rb") as file:
                if not file.read(1):
                    raise JobError(f"{path} is empty.")
        except FileNotFoundError as error:
            raise JobError(f"{path} does not exist.", error="FileNotFound") from error
        except IsADirectoryError as error:
            raise JobError(f"{path} is a folder; name a file.") from error
        except OSError as error:
            raise JobError(f"{path} cannot be read: {error.strerror}.", error="FileUnreadable") from error
        media = Media(uri=file_uri(path), name=path.name, size=path.stat().st_size)
        if kind_by_name(media) is Kind.DOCUMENT:
            raise JobError(
                f"{path} is a document already; `stenobus ingest add` puts it into the knowledge base.",
                error="Unsupported",
            )
        event: Event
        if path.suffix.lower() in TRANSCRIPTS:
            event = AsrDone(
                transcript=media, title=title, language=language, document_language=document_language, output=output
            )
        else:
            event = MediaUploaded(
                media=media, title=title, language=language, document_language=document_language, output=output
            )
        return cls(f"{slug(path.stem)}-{uuid.uuid4().hex[:8]}", event)

    @classmethod
    def from_classic(
        cls,
        text: str | bytes,
        *,
        title: str | None = None,
        language: str | None = None,
        document_language: DocumentLanguage | None = None,
        output: OutputOptions | None = None,
    ) -> Job:
        """A job for a classic job event. What it names itself stands, the arguments fill what it leaves out.

        Raises:
            JobError: the event is no JSON, or lacks what it needs.
        """
        try:
            classic = _ClassicEvent.model_validate_json(text)
            video = _media(classic.video_s3_uri, classic.video_metadata) if classic.video_s3_uri else None
            transcript = _media(classic.transcription_s3_uri, None) if classic.transcription_s3_uri else None
        except ValidationError as error:
            why = first_fault(error, "the event")
            raise JobError(f"The job event is invalid: {why}.", error="InvalidEvent") from error
        metadata: dict[str, JsonValue] = {"execution_id": classic.execution_id, **(classic.model_extra or {})}
        event: Event
        wanted, output = classic.document_language or document_language, classic.output or output
        if transcript is not None:
            event = AsrDone(
                transcript=transcript,
                media=video,
                title=title,
                language=language,
                document_language=wanted,
                output=output,
                metadata=metadata,
            )
        elif video is not None:
            event = MediaUploaded(
                media=video,
                title=title,
                language=language,
                document_language=wanted,
                output=output,
                metadata=metadata,
            )
        else:
            raise JobError("The job event needs video_s3_uri or transcription_s3_uri.", error="InvalidEvent")
        return cls(classic.execution_id, event)

    async def uploaded(self, services: Services) -> Job:
        """The same job with its local files in the blob store.

        Raises:
            BusError: a file cannot be read or stored.
        """
        changes: dict[str, object] = {}
        for name in ("media", "transcript"):
            media = getattr(self.event, name, None)
            if isinstance(media, Media) and media.uri.startswith("file:"):
                changes[name] = await _uploaded(media, services)
        output = getattr(self.event, "output", None)
        if isinstance(output, OutputOptions) and output.template and output.template.uri.startswith("file:"):
            changes["output"] = output.model_copy(update={"template": await _uploaded(output.template, services)})
        return Job(self.execution_id, self.event.model_copy(update=changes))


def output_options(template: Path | None, formats: Sequence[ExtraFormat]) -> OutputOptions | None:
    """How the document is wanted, None when nothing is said of it.

    Raises:
        JobError: there is no such template.
    """
    if template is not None and not template.is_file():
        raise JobError(f"The template {template} does not exist.", error="FileNotFound")
    if template is None and not formats:
        return None
    return OutputOptions(
        formats=tuple(formats) or None,
        template=Media(uri=file_uri(template), name=template.name) if template else None,
    )


def slug(text: str) -> str:
    """A text as a run id: letters, digits and hyphens, at most 80."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:80] or "run"


async def _uploaded(media: Media, services: Services) -> Media:
    async with services.fetch(media) as path:
        ref = await services.blobs.put(path, media.content_type or "application/octet-stream")
    return media.model_copy(update={"uri": ref.uri, "sha256": ref.sha256, "size": ref.size, "name": media.title})


def _media(uri: str, metadata: _VideoMetadata | None) -> Media:
    name = unquote(urlsplit(uri).path).rpartition("/")[2] or None
    return Media(
        uri=uri,
        name=name,
        size=metadata.size_bytes if metadata else None,
        duration_seconds=metadata.duration if metadata else None,
    )
