"""A value that several processes share, and change one after the other: compare-and-set on one key of a bucket."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, Final, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError

from .connection import Bus
from .errors import ServerUnavailable

T = TypeVar("T")
Value = dict[str, Any]

BUCKET: Final = "stenobus_limits"

_WRONG_LAST_SEQUENCE: Final = 10071
#: Most seconds between two tries of one change, while others change the value as well.
_CROWD: Final = 0.05


class Cell:
    """One JSON object in the bucket.

    Args:
        key: of the bucket; its words are joined by dots.
        bucket: a key-value bucket.
        sound: whether an object is what it should be; one that is not was written by somebody else's hand.
    """

    def __init__(
        self, bus: Bus, key: str, bucket: str = BUCKET, sound: Callable[[Value], bool] = lambda _: True
    ) -> None:
        self._bus, self._key, self._bucket, self._sound = bus, key, bucket, sound
        self.subject = f"$KV.{bucket}.{key}"
        self._known: tuple[Value, int] | None = None

    async def change(self, step: Callable[[Value], tuple[Value, T]]) -> T:
        """Put what ``step`` makes of the value in its place.

        Args:
            step: from the value (empty when there is none yet) to the new value and a result. It is called again,
                with what is there by then, for as long as somebody else was faster.

        Returns:
            The result that belongs to the value that was written.

        Raises:
            ServerUnavailable: the bucket does not answer, or holds something else. The change may have been made all
                the same.
        """
        pause = 0.001
        try:
            while True:
                # What was written last is mostly still there: looking at it first would double the way.
                value, revision = self._known or await self._read()
                new, result = step(value)
                written = await self._write(new, revision)
                if written is not None:
                    self._known = new, written
                    return result
                self._known = None
                await asyncio.sleep(random.uniform(0, pause))  # a crowd spreads
                pause = min(2 * pause, _CROWD)
        except (NatsError, OSError) as error:
            self._known = None
            raise ServerUnavailable(f"The bucket {self._bucket} does not answer ({type(error).__name__}).") from error

    async def read(self) -> Value:
        """The value as it is now, empty when there is none. Raises ServerUnavailable."""
        try:
            return (await self._read())[0]
        except (NatsError, OSError) as error:
            raise ServerUnavailable(f"The bucket {self._bucket} does not answer ({type(error).__name__}).") from error

    async def _read(self) -> tuple[Value, int]:
        try:
            message = await self._bus.js.get_last_msg(
                f"KV_{self._bucket}", self.subject
            )  # the leader's word, not a replica's
        except NotFoundError:
            return {}, 0
        try:
            value = json.loads(message.data or b"{}")
            if not isinstance(value, dict) or not self._sound(value):
                raise ValueError("it is no such record")
        except ValueError as error:
            raise ServerUnavailable(
                f"The record {self._key} is damaged; remove it by `nats kv del {self._bucket} {self._key}`."
            ) from error
        return value, message.seq or 0

    async def _write(self, value: Value, revision: int) -> int | None:
        """The new revision, or None when the value is no longer the one of this revision."""
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        try:
            stored = await self._bus.js.publish(
                self.subject, json.dumps(value).encode(), stream=f"KV_{self._bucket}", headers=headers
            )
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return None
            raise
        return stored.seq
