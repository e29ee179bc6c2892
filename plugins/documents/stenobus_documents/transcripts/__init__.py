"""Readers of transcripts: AWS Transcribe, Whisper-style JSON, SRT, VTT, plain text and the internal form."""

from .form import Limits, Parsed, TranscriptError, Utterance
from .reader import read

__all__ = ["Limits", "Parsed", "TranscriptError", "Utterance", "read"]
