"""Small rules about text that several stages share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

#: What XML 1.0 forbids (a DOCX with one of these does not open), the C1 controls, and the byte order mark.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff\u0085]")
_EXTENSION = re.compile(
    r"\.(wav|flac|mp3|m4a|aac|og[gav]|opus|wma|mp4|m4v|mkv|mov|avi|webm|mpe?g|json|srt|vtt|txt|md|transcript)$",
    re.IGNORECASE,
)
_HASH = re.compile(r"[0-9a-f]{32,}")


def printable(text: str) -> str:
    """The text in NFC without control characters and what else XML forbids; lines and tabs stay."""
    return unicodedata.normalize("NFC", _FORBIDDEN.sub("", text))


def one_line(text: str) -> str:
    """The printable text with every run of whitespace folded into one space."""
    if text.isascii() and text.isprintable():  # nearly every word of nearly every transcript
        return " ".join(text.split()) if " " in text else text
    # Some of what separates words is forbidden, and some of what is forbidden stands between spaces.
    return " ".join(printable(" ".join(text.split())).split())


def joined(words: Iterable[str]) -> str:
    """The words as a sentence: spaces between them, none between two characters of a script that has no spaces."""
    parts: list[str] = []
    for word in words:
        if not word:
            continue
        if parts and not (_spaceless(parts[-1][-1]) and _spaceless(word[0])):
            parts.append(" ")
        parts.append(word)
    return "".join(parts)


def clock(seconds: float) -> str:
    """Seconds as ``HH:MM:SS``, rounded down so that a link never lands behind the words."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def title_from_name(name: str) -> str | None:
    """A title made of a file name: no folder, no extension, no underscores. None when the name says nothing."""
    stem = unquote(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    while _EXTENSION.search(stem):
        stem = _EXTENSION.sub("", stem)
    words = one_line(re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", stem))
    if not any(letter.isalnum() for letter in words) or _HASH.fullmatch(words):
        return None
    return words[0].upper() + words[1:]


def _spaceless(character: str) -> bool:
    """True for Han, kana and the full-width punctuation between them (Korean writes spaces)."""
    return unicodedata.east_asian_width(character) in "WF" and not "\uac00" <= character <= "\ud7a3"
