"""What handlers say about themselves to those who send to their subject: limits, models, formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import JsonValue

from stenobus_bus import Bus, ServerUnavailable
from stenobus_contracts import Event

BUCKET: Final = "stenobus_facts"


class Facts:
    """Facts by subject. The last process to start speaks for all that serve the subject."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    @classmethod
    async def open(cls, bus: Bus) -> Facts:
        """The facts of a bus."""
        return cls(await bus.bucket(BUCKET))

    async def get(self, contract: type[Event]) -> dict[str, JsonValue]:
        """What the handler of a contract said; empty when none said anything yet."""
        try:
            entry = await self._bucket.get(contract.subject)
        except KeyNotFoundError:
            return {}
        found: dict[str, JsonValue] = json.loads(entry.value or b"{}")
        return found

    async def put(self, contract: type[Event], facts: Mapping[str, JsonValue]) -> None:
        """Say something about the handler of a contract. Raises ServerUnavailable."""
        try:
            await self._bucket.put(contract.subject, json.dumps(facts).encode())
        except NatsError as error:
            raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
