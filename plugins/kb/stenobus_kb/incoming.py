"""The documents of a kb.sync: those in the event, and those in its JSON Lines blob, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import KbDocument, KbSync
from stenobus_core import Context, PermanentError

#: Bytes that the JSON Lines of one event may have.
MAX_BYTES: Final = 1024 * 1024 * 1024
#: Bytes of one line: a document's id, title, addresses and metadata, without its text.
MAX_LINE_BYTES: Final = 1024 * 1024
#: Documents of one event.
MAX_DOCUMENTS: Final = 500_000
#: Documents that are held in memory.
BATCH: Final = 64


class Batch(NamedTuple):
    """Some of an event's documents."""

    documents: list[KbDocument]
    #: How much of the event has been read by now, 0 to 1.
    fraction: float


async def batches(event: KbSync, ctx: Context[Any, Any], problems: list[str]) -> AsyncIterator[Batch]:
    """The event's documents, in the order they count: of two with one id the last one is meant.

    Args:
        event: the sync.
        ctx: where the blob is read.
        problems: gets a sentence for every line that is no document; the others are not to blame.

    Raises:
        PermanentError: the blob is gone, differs from what was promised, or is beyond a limit.
    """
    if event.documents is not None:
        if (size := event.documents.size) > MAX_BYTES:
            raise PermanentError(f"{event.documents.uri} has {size} bytes, the limit is {MAX_BYTES}: sync it in parts.")
        async with ctx.fetch(event.documents) as path:
            read, found = 0, []
            for number, line in lines(path, event.documents.uri, MAX_LINE_BYTES, MAX_DOCUMENTS):
                read += len(line) + 1
                if isinstance(parsed := _document(line), KbDocument):
                    found.append(parsed)
                else:
                    problems.append(f"Line {number} of {event.documents.uri} is no document: {parsed}.")
                if len(found) == BATCH:
                    yield Batch(found, min(1.0, read / size))
                    found = []
        yield Batch(found, 1.0)
    for start in range(0, len(event.upsert), BATCH):
        yield Batch(list(event.upsert[start : start + BATCH]), min(1.0, (start + BATCH) / len(event.upsert)))


def _document(line: bytes) -> KbDocument | str:
    """A line's document, or what is wrong with it."""
    try:
        return KbDocument.model_validate_json(line)
    except ValidationError as error:
        return first_fault(error)


def lines(path: Path, uri: str, longest: int, most: int) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line that is not blank.

    Args:
        path: the file.
        uri: its address, for people.
        longest: bytes a line may have.
        most: lines there may be.

    Raises:
        PermanentError: a line is too long, or there are too many.
    """
    count = 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(longest + 2):
            number += 1
            text = line.rstrip(b"\r\n")
            if len(text) > longest:
                raise PermanentError(f"Line {number} of {uri} is longer than {longest} bytes.")
            if not text.strip():
                continue
            count += 1
            if count > most:
                raise PermanentError(f"{uri} has more than {most} lines: send it in parts.")
            yield number, text
