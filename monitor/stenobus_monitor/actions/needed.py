"""Files that somebody may still want: whatever an event that is stored refers to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from stenobus_bus import Bus
from stenobus_bus.envelope import CLAIM
from stenobus_bus.history import read
from stenobus_bus.selection import payload_of
from stenobus_core.board import is_bucket
from stenobus_core.lag import stream_sizes

from ..errors import ActionFailed

#: Events that are read, and files that are remembered.
_EVENTS: Final = 2_000_000
_FILES: Final = 500_000
_DEPTH: Final = 50


async def needed(bus: Bus) -> set[Path]:
    """Every file that an event of any stream refers to: runs in progress, and all that can be replayed.

    Raises:
        ActionFailed: there are too many to know.
        BusError: the bus does not answer.
    """
    found: set[Path] = set()
    count = 0
    for size in await stream_sizes(bus):
        if is_bucket(size):
            continue
        async with aclosing(read(bus, size.name, ">")) as stored:
            async for message in stored:
                count += 1
                if count > _EVENTS or len(found) > _FILES:
                    raise ActionFailed("There are too many events to know which files they need.")
                if b"file:" in message.data or CLAIM in message.attributes:
                    found.update(_files(await payload_of(bus, message), 0))
    return found


def _files(value: Any, depth: int) -> Iterator[Path]:
    """Paths of files anywhere in a payload, and what they are by way of links."""
    if isinstance(value, str):
        if value.startswith("file:"):
            try:
                path = Path(unquote(urlsplit(value).path))
                yield path
                yield path.resolve()
            except (ValueError, OSError, RuntimeError):
                return
    elif depth < _DEPTH and isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _files(inner, depth + 1)
