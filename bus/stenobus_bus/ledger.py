"""What each handler has completed, remembered beyond the server's window for duplicates."""

from __future__ import annotations

import asyncio
import base64
from typing import Final

from nats.errors import Error as NatsError

from .connection import ApiError, Bus
from .envelope import Delivery, Envelope, derived_id
from .errors import ServerUnavailable
from .lookup import Lookup

BUCKET: Final = "stenobus_ledger"
#: Seconds a completed event is remembered: longer than streams keep it by default, so that a consumer that has to be
#: made anew, and starts at the first event of its stream, repeats nothing.
TTL: Final = 31 * 86_400.0

_STREAM: Final = f"KV_{BUCKET}"
_MESSAGE_NOT_FOUND: Final = 10037


class Ledger:
    """One handler's entries: of an event (source and id) in a replay, and of one message's deliveries.

    Every look into the bucket and every write of it is one of many that share their way to the server, so that a
    handler of thousands of events a second can afford it.
    """

    def __init__(self, bus: Bus, handler: str, lookup: Lookup) -> None:
        self._bus, self._handler, self._lookup = bus, handler, lookup

    @classmethod
    async def open(cls, bus: Bus, handler: str) -> Ledger:
        """The ledger of a handler."""
        return cls(bus, handler, await bus.lookup(_STREAM))

    def key(self, envelope: Envelope) -> str:
        """Where the completion of an event is remembered."""
        return entry(self._handler, envelope.source, envelope.id, envelope.replay)

    async def completed(self, key: str, *, first: bool) -> bool:
        """Whether an event's effects are in place.

        Args:
            first: the server delivers its message for the first time, so that whatever was completed under this key
                was completed some time ago. Otherwise another process may have done so a moment ago, and only the
                leader of the bucket is sure to know.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        if not first:
            return await self._leader(key) is not None
        try:
            return await self._lookup.holds(key)
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error

    def complete(self, key: str) -> asyncio.Future[bool]:
        """Write that an event's effects are in place; done once it is remembered, however long that takes."""
        return self._bus.entries.put(key, b"done")

    async def handed_back(self, delivery: Delivery) -> int:
        """How many deliveries of a message ended by a stop, which is no failed attempt. Raises ServerUnavailable."""
        return int(await self._leader(self._message(delivery)) or 0)

    async def hand_back(self, delivery: Delivery) -> None:
        """Remember a delivery that ended by a stop. Raises BusError."""
        count = await self.handed_back(delivery) + 1
        await self._bus.store(self._message(delivery), str(count).encode(), {})

    async def _leader(self, subject: str) -> bytes | None:
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{_STREAM}", {"last_by_subj": subject})
        except ApiError as error:
            if error.err_code == _MESSAGE_NOT_FOUND:
                return None
            raise
        return base64.b64decode(answer["message"].get("data", ""))

    def _message(self, delivery: Delivery) -> str:
        return entry(self._handler, delivery.stream, delivery.sequence, delivery.timestamp)


def entry(handler: str, *what: object) -> str:
    """Where a handler's ledger remembers something."""
    return f"$KV.{BUCKET}.{handler}.{derived_id(*what)}"
