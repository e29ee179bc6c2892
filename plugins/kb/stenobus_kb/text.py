"""Text as the index holds it: normalised, and with scripts written without spaces cut into characters."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# FTS5 takes a run of letters for one word, so a sentence in Chinese, Japanese or Thai would be a single word, and an
# emoji would grow onto the word beside it. An invisible space around each such character makes it a word of its own.
_CUT = "\u200b"
_ALONE = re.compile(
    "(["
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2190-\u2bff\U0001f000-\U0001faff"  # symbols and emoji
    "\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"  # CJK, kana, hangul
    "])"
)
# Control characters, but for tab, line feed and carriage return: the index marks times and highlights with them, and a
# terminal obeys some.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b]")


def clean(text: str) -> str:
    """Text in composed form (NFC), without control characters and unpaired surrogates."""
    return _CONTROL.sub("", unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8")))


def cut(text: str) -> str:
    """Text as FTS5 shall see it, with characters that are words of their own set apart."""
    return text if text.isascii() else _ALONE.sub(f"{_CUT}\\1{_CUT}", text)


def uncut(text: str) -> str:
    """The text that :func:`cut` was given."""
    return text.replace(_CUT, "")


def digest(*parts: str) -> bytes:
    """16 bytes that stand for a text: equal parts, equal digest."""
    return hashlib.sha256("\x00".join(parts).encode()).digest()[:16]
