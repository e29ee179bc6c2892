"""Hands events to a sink as the host does, without a bus: for tests that break off at every call to the outside."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from stenobus_contracts import BlobRef, KbDocument, KbSync, KbSynced
from stenobus_core import PermanentError
from stenobus_sinks.port import Sink
from stenobus_sinks.syncing import synchronise


@dataclass
class Desk:
    """Blobs, and what was published."""

    #: The sink. What it knows by heart must not matter: opening one takes boto3 half a second.
    opened: Callable[[], Sink]
    blobs: dict[str, bytes] = field(default_factory=dict)
    published: list[KbSynced] = field(default_factory=list)

    def blob(self, content: bytes) -> BlobRef:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return BlobRef(uri=f"nats://stenobus/{sha256}", sha256=sha256, size=len(content), content_type="text/markdown")

    def document(self, id: str, text: str | bytes, **more: Any) -> KbDocument:
        content = text.encode() if isinstance(text, str) else text
        return KbDocument(id=id, title=more.pop("title", id.title()), content=self.blob(content), **more)

    def event(self, collection: str = "handbook", delete: tuple[str, ...] = (), **texts: str | bytes) -> KbSync:
        documents = tuple(self.document(name, text) for name, text in texts.items())
        return KbSync(collection=collection, upsert=documents, delete=delete)

    async def sync(self, event: KbSync, order: int, *, shadow: str | None = None) -> KbSynced:
        """What comes of an event."""
        return await synchronise(event, self._context(order, shadow), self.opened())

    async def fails(self, event: KbSync, order: int) -> tuple[Exception, KbSynced | None]:
        """How an event fails, and what was published before."""
        self.published.clear()
        try:
            done = await self.sync(event, order)
        except Exception as error:
            return error, self.published[-1] if self.published else None
        raise AssertionError(f"it did not fail: {done}")

    def _context(self, order: int, shadow: str | None) -> Any:
        async def read(ref: BlobRef, limit: int) -> bytes:
            if ref.sha256 not in self.blobs:
                raise PermanentError(f"{ref.uri} does not exist; store it again and publish the event anew.")
            return self.blobs[ref.sha256][:limit]

        async def publish(event: KbSynced) -> None:
            self.published.append(event)

        progress: Callable[[float, str], Awaitable[None]] = _nothing
        return SimpleNamespace(
            source="test", event_id=f"event-{order}", replay=None, stored=order, shadow=shadow,
            read=read, publish=publish, progress=progress,
        )  # fmt: skip


async def _nothing(fraction: float, message: str) -> None:
    assert 0 <= fraction <= 1 and message
