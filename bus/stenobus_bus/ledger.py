"""What each handler has completed, remembered beyond the server's window for duplicates."""

from __future__ import annotations

import json
from typing import Final

from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from .connection import Bus
from .envelope import Envelope, derived_id

BUCKET: Final = "stenobus_ledger"
#: Seconds a completed event is remembered.
TTL: Final = 7 * 86_400.0
_DONE: Final = b'{"done":true}'


class Ledger:
    """One handler's entries. An entry belongs to an event (source and id) and a replay."""

    def __init__(self, bucket: KeyValue, handler: str) -> None:
        self._bucket = bucket
        self._handler = handler

    @classmethod
    async def open(cls, bus: Bus, handler: str) -> Ledger:
        """The ledger of a handler."""
        return cls(await bus.bucket(BUCKET), handler)

    async def look_up(self, envelope: Envelope) -> tuple[bool, int]:
        """Whether the handler completed the event, and how often it handed it back unfinished."""
        try:
            entry = await self._bucket.get(self._key(envelope))
        except KeyNotFoundError:
            return False, 0
        known = json.loads(entry.value or b"{}")
        return bool(known.get("done")), int(known.get("handed_back", 0))

    async def complete(self, envelope: Envelope) -> None:
        """Remember that the event's effects are in place."""
        await self._bucket.put(self._key(envelope), _DONE)

    async def hand_back(self, envelope: Envelope) -> None:
        """Remember a delivery that ended by a stop, which is no failed attempt."""
        done, count = await self.look_up(envelope)
        if not done:
            await self._bucket.put(self._key(envelope), json.dumps({"handed_back": count + 1}).encode())

    def _key(self, envelope: Envelope) -> str:
        return f"{self._handler}.{derived_id(envelope.source, envelope.id, envelope.replay)}"
