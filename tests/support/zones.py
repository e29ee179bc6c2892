"""Time zones whose clock is moved at an instant of one's choice."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path


@contextmanager
def zone(folder: Path, name: str, moved: datetime, by: int) -> Iterator[None]:
    """A zone that shows midnight at an instant, where its clock is moved by some seconds (RFC 8536, version 2)."""
    at = int(moved.timestamp())
    offset = -at % 86_400
    before = offset - 86_400 if offset > 43_200 else offset
    after = before + by
    names = b"OLD\0NEW\0"
    kinds = struct.pack(">lBB", before, 0, 0) + struct.pack(">lBB", after, by > 0, 4)
    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 1, 2, len(names))
    blocks = (header + struct.pack(size, at) + b"\1" + kinds + names for size in (">l", ">q"))
    (folder / name).write_bytes(b"".join(blocks) + b"\n\n")
    zoneinfo.reset_tzpath([str(folder), *zoneinfo.TZPATH])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        yield
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()
