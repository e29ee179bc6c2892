"""Bytes into text."""

from __future__ import annotations

import re
from typing import Final

from ..errors import Unreadable

_CHARSET: Final = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([A-Za-z0-9_-]{2,40})", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def text(data: bytes) -> str:
    """The text of a file: UTF-8, UTF-16 by its mark, or else Windows-1252, which is what old files mostly are.

    Raises:
        Unreadable: it is no text.
    """
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        decoded = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise Unreadable("damaged", "is damaged: its UTF-16 text breaks off; upload it again.") from error
        # five bytes have no meaning in Windows-1252
        decoded = data.decode("cp1252", errors="replace")
    if _CONTROL.search(decoded):
        raise Unreadable("damaged", "is no text: it has control characters in it.")
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def declared(data: bytes) -> str:
    """The encoding a page declares or is in, empty when it is left to guessing."""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        found = _CHARSET.search(data[:4096])
        name = found.group(1).decode("ascii") if found else ""
        try:
            "".encode(name)
        except LookupError:
            return ""
        return name
    return "utf-8-sig"
