"""Blob stores: where content lies that never rides in an event. What each kind of them can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stenobus_contracts import BlobRef


class BlobStore(Protocol):
    """Content-addressed storage behind one URI scheme."""

    async def put(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store bytes, or a file, under their SHA-256; storing twice stores once."""
        ...

    def open(self, uri: str) -> AsyncIterator[bytes]:
        """Chunks of a blob in order. Raises BlobNotFound."""
        ...

    async def close(self) -> None:
        """Release what the store holds."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A file under a name of somebody's choice."""

    uri: str
    size: int
    #: Changes whenever the content does: an ETag, or time and size.
    version: str


class NamedStore(BlobStore, Protocol):
    """A store that also keeps files under names of one's choice. NATS object buckets do not."""

    async def write(self, path: Path, uri: str, content_type: str) -> None:
        """Store a file at an address, in place of what is there; complete or not at all."""
        ...

    def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below a folder, in order of their addresses. What cannot be listed whole is an error."""
        ...

    async def remove(self, uri: str, within: str | None = None) -> None:
        """Remove the file at an address; removed already is as good.

        Args:
            within: the folder below which folders that are empty then go, too; none does by default.
        """
        ...


class MovingStore(BlobStore, Protocol):
    """A store that can set content aside, and put it back."""

    def aside(self, uri: str, label: str) -> str:
        """The address at which content would lie in quarantine, under a label of one's choice."""
        ...

    async def may_move(self, uri: str, to: str) -> None:
        """Whether this process has the rights to move content there, and back. Changes nothing.

        Raises:
            AccessDenied, PermanentError: it has not, and what it lacks.
        """
        ...

    async def move(self, uri: str, to: str) -> None:
        """Give content another address; moved already is as good. After a crash it is whole at one of them.

        Raises:
            BlobNotFound: it lies at neither.
            PermanentError: it must not be moved, or cannot be.
        """
        ...
