"""What is known of a source, and its records, read from where they are kept."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from pydantic import ValidationError

from stenobus_bus import BlobNotFound, PermanentError
from stenobus_contracts import BlobRef, Media

from .catalogue import Origin
from .records import Record, read_records
from .state import State

#: Bytes of a state; one of a hundred thousand records has some 15 million.
MAX_STATE: Final = 256 * 1024 * 1024


class Reader(Protocol):
    """What is read by: a handler's context, or a process's blob stores."""

    async def read(self, ref: BlobRef | Media, limit: int = ...) -> bytes:
        """The content behind a reference."""
        ...


async def read_state(store: Reader, origin: Origin) -> State:
    """What is known of a source; nothing, when it was never read. Raises PermanentError when it is damaged."""
    try:
        content = await store.read(Media(uri=origin.places.state), limit=MAX_STATE)
    except BlobNotFound:
        return State(source=origin.name)
    except PermanentError as error:
        if isinstance(error.__cause__, BlobNotFound):  # as a handler's context words it
            return State(source=origin.name)
        raise
    try:
        return State.model_validate_json(content)
    except ValidationError as error:
        raise PermanentError(
            f"{origin.places.state} is damaged: remove it, and the next run reads the whole source."
        ) from error


async def stored_records(store: Reader, ref: BlobRef, most: int) -> dict[str, Record]:
    """Records by their ids. Raises PermanentError when they are gone or more than ``most`` bytes."""
    content = await store.read(ref, limit=most)
    return {record.id: record for record in await asyncio.to_thread(list, read_records(content))}
