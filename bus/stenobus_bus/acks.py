"""Requests whose answers come to one inbox: many may be on the way at once, and each costs little.

The client library's own request costs three times as much, and leaves whoever waits alone with a broken connection
until the time is over; here it tells at once that an answer may be lost.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError, UnexpectedEOF
from nats.errors import TimeoutError as NatsTimeout

from .errors import AccessDenied
from .inbox import Inbox

_NOBODY: Final = "503"
#: How the client library spells that a subject is forbidden: in small letters, whatever the subject's are.
_REFUSED: Final = re.compile(r'permissions violation for publish to "([^"]+)"')


class Acks(Inbox):
    """Sends requests and hands each its answer.

    Args:
        doubt: called when an answer did not come in time: the connection may be half-open.
    """

    def __init__(self, nc: Client, doubt: Callable[[], None]) -> None:
        super().__init__(nc)
        self._doubt = doubt
        self._waiting: dict[str, tuple[asyncio.Future[bytes], asyncio.TimerHandle, str]] = {}

    async def send(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None, *, timeout: float
    ) -> asyncio.Future[bytes]:
        """Send a request; its answer is awaited by whoever wants it, at a later time.

        Args:
            timeout: seconds until the future raises instead.

        Returns:
            The body of the answer. The future raises ``NoRespondersError`` when nobody listens on the subject, nats'
            ``TimeoutError`` when no answer came, ``UnexpectedEOF`` when the connection broke meanwhile, AccessDenied
            when this user may not send there.

        Raises:
            nats.errors.Error: it could not be sent.
        """
        loop = asyncio.get_running_loop()
        number = self._number()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = future, loop.call_later(timeout, self._late, number), subject
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

    def refused(self, error: str) -> bool:
        """Let everybody know whom the server's word about a permission concerns: it sends no other answer.

        Returns:
            Whether anybody waited for it.
        """
        match = _REFUSED.search(error)
        concerned = [
            (number, subject)
            for number, (_, _, subject) in self._waiting.items()
            if match is not None and subject.lower() == match[1]
        ]
        for number, subject in concerned:
            self._fail(number, partial(AccessDenied, f"This user may not publish on {subject}."))
        return bool(concerned)

    def _receive(self, number: str, msg: Msg) -> None:
        if msg.headers and msg.headers.get("Status") == _NOBODY:
            self._fail(number, NoRespondersError)
        elif (future := self._take(number)) is not None:
            future.set_result(msg.data)

    def _late(self, number: str) -> None:
        self._fail(number, NatsTimeout)
        self._doubt()

    def _fail(self, number: str, error: Callable[[], Exception]) -> None:
        if (future := self._take(number)) is not None:
            future.set_exception(error())
            future.exception()  # whoever gave up waiting needs no warning

    def _take(self, number: str) -> asyncio.Future[bytes] | None:
        """The future of a request, unless it was answered, or its asker gave up."""
        future, timer, _ = self._waiting.pop(number, (None, None, ""))
        if timer is not None:
            timer.cancel()
        return None if future is None or future.done() else future
