"""Whose an upload is: recordings, transcripts, documents and images told apart by media type, name and first bytes.

Several plugins listen to ``media.uploaded``, and each takes what is its own. They ask here, so that nothing is taken
twice, and nothing by nobody.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from stenobus_contracts import Media, MediaUploaded

#: Bytes that are enough to tell.
HEAD: Final = 4096


class Kind(Enum):
    """What the content is."""

    RECORDING = "recording"
    TRANSCRIPT = "transcript"
    #: To be read, such as a PDF or a page.
    DOCUMENT = "document"
    IMAGE = "image"
    OTHER = "other"


_SUFFIXES: Final[dict[Kind, str]] = {
    Kind.RECORDING: "3gp aac aif aiff amr asf au avi caf flac flv m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts oga "
    "ogg ogv opus ts w64 wav webm wma wmv",
    Kind.TRANSCRIPT: "json srt txt vtt",
    Kind.DOCUMENT: "csv doc docm docx eml epub htm html markdown md mht mhtml msg odp ods odt pdf ppt pptm pptx rtf "
    "tsv xhtml xls xlsm xlsx",
    Kind.IMAGE: "bmp gif heic jpeg jpg png svg tif tiff webp",
    Kind.OTHER: "xml zip",
}
_KINDS: Final = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_TRANSCRIPT_TYPES: Final = frozenset(
    {"application/json", "application/srt", "application/x-subrip", "text/plain", "text/srt", "text/vtt"}
)
_DOCUMENT_TYPES: Final = frozenset(
    {
        "application/epub+zip",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/vnd.ms-excel",
        "application/vnd.ms-outlook",
        "application/vnd.ms-powerpoint",
        "application/xhtml+xml",
        "message/rfc822",
    }
)
_DOCUMENT_FAMILIES: Final = (
    "application/vnd.oasis.opendocument.",
    "application/vnd.openxmlformats-officedocument.",
    "text/",
)
_OTHER_TYPES: Final = frozenset({"text/xml"})
_DOCUMENT_MAGIC: Final = (b"%PDF", b"PK\3\4", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_IMAGE_MAGIC: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_PAGE: Final = re.compile(r"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def kind_of(event: MediaUploaded) -> Kind | None:
    """What the producer says it is, or else what media type and name say; None when they leave it open."""
    return Kind(event.kind) if event.kind else kind_by_name(event.media)


def kind_by_name(media: Media) -> Kind | None:
    """What media type and name say; None when they leave it open."""
    content_type = (media.content_type or "").partition(";")[0].strip().lower()
    if content_type in _TRANSCRIPT_TYPES:
        # stores that guess types call everything with letters in it plain text
        return _by_suffix(media) or Kind.TRANSCRIPT if content_type == "text/plain" else Kind.TRANSCRIPT
    if content_type in _OTHER_TYPES:
        return Kind.OTHER
    if content_type in _DOCUMENT_TYPES or content_type.startswith(_DOCUMENT_FAMILIES):
        return Kind.DOCUMENT
    if content_type.startswith(("audio/", "video/")):
        return Kind.RECORDING
    if content_type.startswith("image/"):
        return Kind.IMAGE
    return _by_suffix(media)


def kind_by_content(head: bytes) -> Kind:
    """What the first :data:`HEAD` bytes say. Whatever is neither text nor a known other format may be a recording."""
    if head.startswith(_DOCUMENT_MAGIC):
        return Kind.DOCUMENT
    if head.startswith(_IMAGE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return Kind.IMAGE
    text = _text(head)
    if text is None:
        return Kind.RECORDING
    if not text.lstrip().startswith("<"):
        return Kind.TRANSCRIPT
    return Kind.DOCUMENT if _PAGE.search(text) else Kind.OTHER


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
