"""Tells recordings, transcripts and everything else apart: by media type, by name, and by the first bytes."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from stenobus_contracts import Media

#: Bytes that are enough to tell.
HEAD: Final = 4096


class Kind(Enum):
    """What the content is to the speech plugin."""

    RECORDING = "recording"
    TRANSCRIPT = "transcript"
    OTHER = "other"


_SUFFIXES: Final[dict[Kind, str]] = {
    Kind.RECORDING: "3gp aac aif aiff amr asf au avi caf flac flv m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts oga "
    "ogg ogv opus ts w64 wav webm wma wmv",
    Kind.TRANSCRIPT: "json srt txt vtt",
    Kind.OTHER: "bmp csv doc docx epub gif heic htm html jpeg jpg md odp ods odt pdf png ppt pptx rtf svg tif tiff "
    "webp xls xlsx xml zip",
}
_KINDS: Final = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_TRANSCRIPT_TYPES: Final = frozenset(
    {"application/json", "application/srt", "application/x-subrip", "text/plain", "text/srt", "text/vtt"}
)
_MAGIC: Final = (b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"PK\3\4", b"{\\rtf")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def kind_by_name(media: Media) -> Kind | None:
    """What media type and names say; None when they leave it open."""
    content_type = (media.content_type or "").partition(";")[0].strip().lower()
    if content_type in _TRANSCRIPT_TYPES:
        # stores that guess types call everything with letters in it plain text
        return _by_suffix(media) or Kind.TRANSCRIPT if content_type == "text/plain" else Kind.TRANSCRIPT
    if content_type.startswith(("audio/", "video/")):
        return Kind.RECORDING
    if content_type.startswith(("image/", "text/")):
        return Kind.OTHER
    return _by_suffix(media)


def kind_by_content(head: bytes) -> Kind:
    """What the first :data:`HEAD` bytes say. Whatever is neither text nor a known other format may be a recording."""
    if head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return Kind.OTHER
    text = _text(head)
    if text is None:
        return Kind.RECORDING
    return Kind.OTHER if text.lstrip().startswith("<") else Kind.TRANSCRIPT


def _by_suffix(media: Media) -> Kind | None:
    names = (media.name or "", unquote(urlsplit(media.uri).path))
    suffixes = (PurePosixPath(name).suffix.lower().removeprefix(".") for name in names)
    return next((_KINDS[suffix] for suffix in suffixes if suffix in _KINDS), None)


def _text(head: bytes) -> str | None:
    """The bytes as text, None when they are none."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    # the last character may be cut in two
    for end in range(len(head), max(len(head) - 4, -1), -1):
        try:
            text = head[:end].decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _CONTROL.search(text) else text
    return None
