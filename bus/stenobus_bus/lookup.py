"""Which keys a bucket holds: one request for all who ask at the same moment."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout

from .inbox import Inbox

#: Seconds an answer may take.
_TIMEOUT: Final = 5.0
#: Most keys in one request; the server takes 1,024.
_MOST: Final = 256
_END, _NOTHING = "204", "404"


class Lookup(Inbox):
    """Asks one stream for the last message of exact subjects, by the direct-get API.

    Any replica may answer, so a key written a moment ago by another process can be missing from the answer.
    """

    def __init__(self, nc: Client, stream: str) -> None:
        super().__init__(nc)
        self._api = f"$JS.API.DIRECT.GET.{stream}"
        self._next: dict[str, asyncio.Future[bool]] = {}
        self._asked: dict[str, tuple[dict[str, asyncio.Future[bool]], asyncio.TimerHandle]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def holds(self, subject: str) -> asyncio.Future[bool]:
        """Whether there is a message of this subject. The future raises nats' errors when nobody answers."""
        loop = asyncio.get_running_loop()
        if not self._next:
            loop.call_soon(self._send)
        future = self._next.get(subject)
        if future is None or future.cancelled():
            future = self._next[subject] = loop.create_future()
        return future

    def lost(self) -> None:
        """Let everybody know who waits for an answer."""
        for number in list(self._asked):
            self._fail(number, NatsTimeout())

    def _send(self) -> None:
        waiting = list(self._next.items())
        self._next = {}
        for first in range(0, len(waiting), _MOST):
            task = asyncio.create_task(self._ask(dict(waiting[first : first + _MOST])))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _ask(self, group: dict[str, asyncio.Future[bool]]) -> None:
        number = self._number()
        self._asked[number] = (
            group,
            asyncio.get_running_loop().call_later(_TIMEOUT, self._fail, number, NatsTimeout()),
        )
        try:
            await self._nc.publish(self._api, json.dumps({"multi_last": list(group)}).encode(), self._reply + number)
        except NatsError as error:
            self._fail(number, error)

    def _receive(self, number: str, msg: Msg) -> None:
        headers = msg.headers or {}
        status = headers.get("Status")
        if status is None:
            if number in self._asked:
                self._resolve(self._asked[number][0].get(headers["Nats-Subject"]), True)
        elif status in {_END, _NOTHING}:
            for future in self._take(number).values():
                self._resolve(future, False)
        else:
            self._fail(number, NatsError(f"{status} {headers.get('Description', '')}".strip()))

    @staticmethod
    def _resolve(future: asyncio.Future[bool] | None, held: bool) -> None:
        if future is not None and not future.done():
            future.set_result(held)

    def _fail(self, number: str, error: Exception) -> None:
        for future in self._take(number).values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever gave up waiting needs no warning

    def _take(self, number: str) -> dict[str, asyncio.Future[bool]]:
        group, timer = self._asked.pop(number, ({}, None))
        if timer is not None:
            timer.cancel()
        return group
