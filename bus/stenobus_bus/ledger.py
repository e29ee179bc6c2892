"""What each handler has completed, remembered beyond the server's window for duplicates."""

from __future__ import annotations

from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from .connection import Bus
from .envelope import Delivery, Envelope, derived_id
from .errors import ServerUnavailable

BUCKET: Final = "stenobus_ledger"
#: Seconds a completed event is remembered: longer than streams keep it by default, so that a consumer that has to be
#: made anew, and starts at the first event of its stream, repeats nothing.
TTL: Final = 31 * 86_400.0


class Ledger:
    """One handler's entries: of an event (source and id) in a replay, and of one message's deliveries."""

    def __init__(self, bucket: KeyValue, handler: str) -> None:
        self._bucket = bucket
        self._handler = handler

    @classmethod
    async def open(cls, bus: Bus, handler: str) -> Ledger:
        """The ledger of a handler."""
        return cls(await bus.bucket(BUCKET), handler)

    async def completed(self, envelope: Envelope) -> bool:
        """Whether the event's effects are in place. Raises ServerUnavailable."""
        return await self._get(envelope.source, envelope.id, envelope.replay) is not None

    async def complete(self, envelope: Envelope) -> None:
        """Remember that the event's effects are in place. Raises ServerUnavailable."""
        await self._put(b"done", envelope.source, envelope.id, envelope.replay)

    async def handed_back(self, delivery: Delivery) -> int:
        """How many deliveries of a message ended by a stop, which is no failed attempt. Raises ServerUnavailable."""
        return int(await self._get(delivery.stream, delivery.sequence, delivery.timestamp) or 0)

    async def hand_back(self, delivery: Delivery) -> None:
        """Remember a delivery that ended by a stop. Raises ServerUnavailable."""
        count = await self.handed_back(delivery) + 1
        await self._put(str(count).encode(), delivery.stream, delivery.sequence, delivery.timestamp)

    async def _get(self, *what: object) -> bytes | None:
        try:
            return (await self._bucket.get(self._key(what))).value
        except KeyNotFoundError:
            return None
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error

    async def _put(self, value: bytes, *what: object) -> None:
        try:
            await self._bucket.put(self._key(what), value)
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error

    def _key(self, what: tuple[object, ...]) -> str:
        return f"{self._handler}.{derived_id(*what)}"
