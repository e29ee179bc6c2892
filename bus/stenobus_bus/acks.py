"""Requests whose answers come to one inbox: many may be on the way at once, and each costs little.

The client library's own request costs three times as much, and leaves whoever waits alone with a broken connection
until the time is over; here it tells at once that an answer may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError, UnexpectedEOF
from nats.errors import TimeoutError as NatsTimeout

from .inbox import Inbox

_NOBODY: Final = "503"


class Acks(Inbox):
    """Sends requests and hands each its answer."""

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self._waiting: dict[str, tuple[asyncio.Future[bytes], asyncio.TimerHandle]] = {}

    async def send(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, timeout: float
    ) -> asyncio.Future[bytes]:
        """Send a request; its answer is awaited by whoever wants it, at a later time.

        Args:
            timeout: seconds until the future raises instead.

        Returns:
            The body of the answer. The future raises ``NoRespondersError`` when nobody listens on the subject, nats'
            ``TimeoutError`` when no answer came, ``UnexpectedEOF`` when the connection broke meanwhile.

        Raises:
            nats.errors.Error: it could not be sent.
        """
        loop = asyncio.get_running_loop()
        number = self._number()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = future, loop.call_later(timeout, self._fail, number, NatsTimeout)
        try:
            await self._nc.publish(subject, body, self._reply + number, dict(headers) if headers else None)
        except BaseException:
            self._take(number)
            raise
        return future

    def lost(self) -> None:
        """Let everybody know who waits for an answer."""
        for number in list(self._waiting):
            self._fail(number, UnexpectedEOF)

    def _receive(self, number: str, msg: Msg) -> None:
        if msg.headers and msg.headers.get("Status") == _NOBODY:
            self._fail(number, NoRespondersError)
        elif (future := self._take(number)) is not None:
            future.set_result(msg.data)

    def _fail(self, number: str, error: type[Exception]) -> None:
        if (future := self._take(number)) is not None:
            future.set_exception(error())
            future.exception()  # whoever gave up waiting needs no warning

    def _take(self, number: str) -> asyncio.Future[bytes] | None:
        """The future of a request, unless it was answered, or its asker gave up."""
        future, timer = self._waiting.pop(number, (None, None))
        if timer is not None:
            timer.cancel()
        return None if future is None or future.done() else future
