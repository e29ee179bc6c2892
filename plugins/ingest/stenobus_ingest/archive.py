"""Office files are ZIP archives: what they hold is counted before anything reads it."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Final

from .errors import Unreadable
from .extracted import Bounds

_BLOCK: Final = 1 << 18
#: Small parts may be as dense as they like: a bomb has to be large.
_SMALL: Final = 1 << 20
#: A document type declares entities, which may stand for each other without end. Office writes none.
_DOCTYPE: Final = re.compile(rb"<!(DOCTYPE|ENTITY)|<\0!\0D\0O\0C|\0<\0!\0D\0O\0C", re.IGNORECASE)
_OVERLAP: Final = 32


def check(path: Path, bounds: Bounds) -> None:
    """Unpack every part once, into nothing, and see that it is no bomb. What headers claim does not count.

    Raises:
        Unreadable: it is damaged, encrypted, or unpacks to more than the bounds allow; or a part declares entities.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > bounds.parts:
                raise Unreadable("too_large", f"holds {len(infos)} parts, and at most {bounds.parts} are read.")
            unpacked = 0
            for info in infos:
                if info.flag_bits & 1:
                    raise Unreadable("encrypted", "is protected by a password; save it without one.")
                unpacked += _part(archive, info, bounds, unpacked)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, zlib.error) as error:
        raise Unreadable("damaged", f"is damaged: its archive cannot be unpacked ({_said(error)}).") from error


def _part(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bounds: Bounds, before: int) -> int:
    size, tail = 0, b""
    is_xml = info.filename.lower().endswith((".xml", ".rels", ".vml"))
    with archive.open(info) as part:
        while block := part.read(_BLOCK):
            size += len(block)
            if before + size > bounds.unpacked:
                raise Unreadable(
                    "too_large", f"unpacks to more than {bounds.unpacked} bytes; raise max_unpacked_bytes."
                )
            if size > _SMALL and size > bounds.ratio * max(1, info.compress_size):
                raise Unreadable("too_large", f"is packed more than {bounds.ratio} to 1, as a bomb is.")
            if is_xml and _DOCTYPE.search(tail + block):
                raise Unreadable("damaged", "declares XML entities, which no Office file does; save it anew.")
            tail = block[-_OVERLAP:]
    return size


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:120] or type(error).__name__
