"""Transcripts: one internal form for whatever heard or read the words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from .blob import BlobRef, Media
from .event import Event, Model
from .media import DocumentLanguage, OutputOptions


class Word(Model):
    """One word and when it was said, in seconds from the start of the recording."""

    text: str
    start: float = Field(ge=0, description="seconds")
    end: float = Field(ge=0, description="seconds")
    probability: float | None = Field(default=None, ge=0, le=1, description="the engine's confidence")
    speaker: str | None = None
    alternatives: tuple[str, ...] = Field(default=(), description="other readings the engine offered, best first")


class Segment(Model):
    """One utterance. ``id`` (S0001, S0002, …) is what every later statement cites."""

    id: str = Field(pattern=r"^S\d{4,}$")
    text: str
    start: float | None = Field(default=None, ge=0, description="seconds; None when the source has no times")
    end: float | None = Field(default=None, ge=0, description="seconds; None when the source has no times")
    speaker: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    kind: Literal["speech", "noise", "small_talk"] = "speech"
    words: tuple[Word, ...] = ()


class Transcript(Model):
    """What was said: numbered segments in order of time."""

    segments: tuple[Segment, ...] = ()
    language: str | None = Field(default=None, description="BCP 47")
    duration_seconds: float | None = Field(default=None, ge=0)

    @property
    def text(self) -> str:
        """All segments' text, joined by single spaces."""
        return " ".join(segment.text for segment in self.segments if segment.text)


class Recognition(Model):
    """How a transcript came to be."""

    engine: str = Field(description="pocketsphinx, faster-whisper, aws-transcribe, …")
    model: str | None = None
    reason: str | None = Field(default=None, description="why this engine was chosen, in one sentence")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the effective options")
    audio_seconds: float | None = Field(default=None, ge=0)
    speech_seconds: float | None = Field(default=None, ge=0, description="seconds that voice detection passed on")


class AsrDone(Event, subject="asr.done"):
    """A transcript is available, from a speech engine or from any producer that already has one.

    ``transcript`` may point at the internal form (:class:`Transcript` as JSON), an AWS Transcribe result, SRT, VTT or
    plain text: the first document stage reads them all.
    """

    transcript: BlobRef | Media
    media: Media | None = Field(default=None, description="the recording, when there is one")
    recognition: Recognition | None = Field(default=None, description="absent when the producer brought the transcript")
    title: str | None = Field(default=None, max_length=500)
    language: str | None = None
    document_language: DocumentLanguage | None = Field(
        default=None, description="language of the document; that of the recording if absent"
    )
    output: OutputOptions | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class OcrDone(Event, subject="ocr.done"):
    """The text of an image or PDF is available."""

    text: BlobRef
    media: Media
    engine: str
    pages: int = Field(ge=0)
    language: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
