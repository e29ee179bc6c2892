"""Find out what kind of transcript some bytes are, and read them."""

from __future__ import annotations

import codecs
import json
import re
from types import ModuleType

from . import aws, internal, plain, subtitles, whisper
from .form import Parsed, TranscriptError, uncollected

#: Tried in this order; each has ``recognises(document)`` and ``parse(document)``.
JSON_FORMATS: tuple[ModuleType, ...] = (internal, aws, whisper)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JSON_START = re.compile(r"\s*(\{|\[\s*[{\[\]\"])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@uncollected()
def read(data: bytes, name: str = "") -> Parsed:
    """Read a transcript of any known kind.

    Args:
        data: the bytes as they came.
        name: file name or media type, used only where the content leaves a doubt.

    Raises:
        TranscriptError: the bytes are empty, binary, cut off, or of a kind that is not read here.
    """
    text = decode(data)
    if not text.strip():
        raise TranscriptError("The transcript is empty; check that the file was written to its end.")
    if _JSON_START.match(text) or name.lower().rstrip("/").endswith("json"):
        return _read_json(_load(text))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return subtitles.parse(text) if subtitles.recognises(text) else plain.parse(text)


def decode(data: bytes) -> str:
    """Text of UTF-8, of UTF-16 and UTF-32 with a byte order mark, else of Windows-1252.

    Raises:
        TranscriptError: the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    controls = sum(1 for _ in _CONTROL.finditer(text[:65536]))
    if "\x00" in text[:65536] or controls > 8 + len(text[:65536]) // 50:
        raise TranscriptError("This is a binary file, not a transcript; publish a recording as media.uploaded instead.")
    return text


def _load(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise TranscriptError("The JSON is nested too deeply to be a transcript.") from None
    except ValueError as error:
        lines = _load_lines(text)
        if lines is not None:
            return lines
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise TranscriptError(
            f"The transcript is not valid JSON{where}: it is damaged or cut off; fetch the file again."
        ) from None


def _load_lines(text: str) -> list[object] | None:
    """One JSON object per line, as some engines stream them; None when the text is something else."""
    documents: list[object] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError):
            return None
    return documents if len(documents) > 1 else None


def _read_json(document: object) -> Parsed:
    refusal = aws.refusal(document)
    if refusal:
        raise TranscriptError(refusal)
    for known in JSON_FORMATS:
        if known.recognises(document):
            parsed = known.parse(document)
            assert isinstance(parsed, Parsed)
            return parsed
    raise TranscriptError(
        "This JSON is no transcript that is known here (AWS Transcribe batch result, Whisper-style segments, or the "
        "internal form); convert it to one of them, or to SRT, VTT or plain text."
    )
