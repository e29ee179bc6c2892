"""Key-value entries of one moment: they go out together and are confirmed together, which costs little."""

from __future__ import annotations

import asyncio
import math
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from .inbox import Inbox

log = structlog.get_logger(__name__)

#: Seconds until a group that is not confirmed whole is sent again.
_TIMEOUT: Final = 5.0
#: Seconds between two tries while the bucket refuses.
_PAUSE: Final = 0.5
#: What a PubAck holds that is none.
_REFUSAL: Final = b'"error"'

Entry = tuple[str, bytes, asyncio.Future[bool]]


class Entries(Inbox):
    """Writes entries, again and again until they are confirmed: writing one twice must harm nobody.

    Args:
        patience: seconds after which entries that the server does not take are given up.
    """

    def __init__(self, nc: Client, patience: float = math.inf) -> None:
        super().__init__(nc)
        self._patience = patience
        self._next: list[Entry] = []
        #: Groups that wait for the server: confirmations still to come, and the last word.
        self._open: dict[str, tuple[int, asyncio.Future[str]]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def put(self, subject: str, value: bytes) -> asyncio.Future[bool]:
        """Write an entry; the future says that the server has it, or after all patience, that it has not."""
        loop = asyncio.get_running_loop()
        if not self._next:
            loop.call_soon(self._begin)
        future: asyncio.Future[bool] = loop.create_future()
        self._next.append((subject, value, future))
        return future

    def lost(self) -> None:
        """Send again what waits for its confirmation."""
        for number in list(self._open):
            self._end(number, "the connection broke")

    def _begin(self) -> None:
        group, self._next = self._next, []
        task = asyncio.create_task(self._write(group))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, group: list[Entry]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while trouble := await self._try(group):
            if self._nc.is_closed:
                return
            log.warning("bus.entries_refused", entries=len(group), first=group[0][0], error=trouble)
            if loop.time() + _PAUSE > end:
                break
            await asyncio.sleep(_PAUSE)
        for _, _, future in group:
            if not future.done():
                future.set_result(not trouble)

    async def _try(self, group: list[Entry]) -> str:
        """Send a group once. Returns what went wrong, nothing when all of it is stored."""
        number = self._number()
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[number] = len(group), end
        reply = self._reply + number
        try:
            for subject, value, _ in group:
                await self._nc.publish(subject, value, reply)
            async with asyncio.timeout(_TIMEOUT):
                return await end
        except TimeoutError:
            return "no confirmation came"
        except (NatsError, OSError) as error:
            return str(error) or type(error).__name__
        finally:
            self._open.pop(number, None)

    def _receive(self, number: str, msg: Msg) -> None:
        if number not in self._open:
            return
        if msg.headers or _REFUSAL in msg.data:
            self._end(number, (msg.headers or {}).get("Status") or msg.data.decode())
            return
        left, end = self._open[number]
        self._open[number] = left - 1, end
        if left == 1:
            self._end(number, "")

    def _end(self, number: str, trouble: str) -> None:
        _, end = self._open.pop(number)
        if not end.done():
            end.set_result(trouble)
