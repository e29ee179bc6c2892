"""The pull loop: asks the server for as many events as there are free hands, and keeps what it holds alive.

Written because the stock loops lose or repeat work: they fetch more than they can handle, so that events time out in a
local queue and run twice; wait for the slowest event of a batch; spin when their consumer is gone (faststream#2563).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from . import settle
from .connection import Bus
from .envelope import Delivery
from .errors import AccessDenied, BusError, ServerUnavailable
from .topology import ELECTION

log = structlog.get_logger(__name__)

#: Seconds one request for events stays open at the server. A dead process's request takes events as long as anybody
#: subscribes to everything (``nats sub '>'``), or while the server believes in its half-open connection.
_EXPIRES: Final = 5.0
#: Seconds between the server's signs of life while it has nothing to send.
_HEARTBEAT: Final = 1.0
#: Seconds without any sign of life after which a request is taken for lost.
_SILENCE: Final = 2.5 * _HEARTBEAT
#: Seconds since the last trouble from which on new trouble is looked into at once.
_CALM: Final = 10.0
#: Seconds the server gets to end our subscription, and cancelled handlers to end themselves, at a stop.
_PATIENCE: Final = 5.0
#: Seconds between two questions whether we may ask for events again, after the right was taken from us.
_REFUSED: Final = 15.0
#: Seconds the answer to a nudge may take, and between two that find no answer.
_NUDGE_TIMEOUT: Final = 2.0
_PAUSE: Final = 0.2
_NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
_NUDGE: Final = json.dumps({"batch": 1, "no_wait": True, "max_bytes": 1}).encode()
_SILENT: Final = "silence"
_NS: Final = 1_000_000_000


async def nudge(bus: Bus, stream: str, consumer: str) -> None:
    """Ask a consumer for no more than a single byte: it looks after its deliveries, and delivers nothing.

    Raises:
        AccessDenied: this user may not ask it for events.
        nats.errors.Error: no answer came.
    """
    with suppress(NoRespondersError):  # nobody leads it now, but we may ask
        await (await bus.acks.send(f"{_NEXT}.{stream}.{consumer}", _NUDGE, timeout=_NUDGE_TIMEOUT))


class Allowance(Protocol):
    """Bounds what a pull loop asks for, beside its own hands."""

    #: Seconds a request may stay open.
    expires: float

    def free(self) -> int:
        """Events the loop may ask for now. Whoever raises it wakes the loop."""
        ...


class PullLoop:
    """Delivers one durable consumer's events to a function, at most ``concurrency`` at a time.

    Args:
        handle: called with each message in a worker of its own; settles it, and never raises for a bad event.
        hand_back: called for what was delivered but not started, or not finished in time, at a stop.
        ensure: (re)creates the consumer; called when it turns out to be missing.
        allowance: bounds what is asked for; None for the hands alone.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        handle: Callable[[Msg, Delivery], Awaitable[None]],
        *,
        hand_back: Callable[[Msg, Delivery], Awaitable[None]],
        ensure: Callable[[], Awaitable[Any]],
        concurrency: int = 1,
        allowance: Allowance | None = None,
    ) -> None:
        self._bus = bus
        self._nc = bus.nc
        self._stream, self._consumer = stream, consumer
        self._next = f"{_NEXT}.{stream}.{consumer}"
        self._handle, self._hand_back, self._ensure = handle, hand_back, ensure
        self._concurrency, self._allowance = concurrency, allowance
        self._queue: asyncio.Queue[tuple[Msg, Delivery]] = asyncio.Queue()
        #: Every message between receipt and settlement, by its place in the stream.
        self._held: dict[int, tuple[Msg, Delivery]] = {}
        #: Those of them whose work is done, and that need no hand any more.
        self._finishing: set[int] = set()
        self._hands = asyncio.Semaphore(concurrency)
        self._asked = 0  # events asked for and not yet received
        #: Events that waited behind the one that came last, 0 once a request went unserved.
        self.pending = 0
        self._largest, self._expires = concurrency, _EXPIRES
        self._wake = asyncio.Event()
        self._trouble = ""
        self._stopping = False
        self._heard = 0.0
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._well = False

    async def start(self) -> None:
        """Begin to ask for events.

        Raises:
            BusError: the consumer cannot be reached or created.
            AccessDenied: this user may not create it, or not ask it for events.
        """
        await self._ensure()
        # The server's own values count: somebody may have edited the consumer.
        info = await self._bus.api(f"CONSUMER.INFO.{self._stream}.{self._consumer}", patience=ELECTION)
        await self._permitted()
        config = info["config"]
        ack_wait = config["ack_wait"] / _NS
        self._largest = config.get("max_batch") or self._concurrency
        self._expires = min(_EXPIRES, config.get("max_expires", _EXPIRES * _NS) / _NS)
        self._bus.on_reconnect(self._wake)
        self._subscription = await self._nc.subscribe(
            self._nc.new_inbox(), cb=self._receive, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._workers = [asyncio.create_task(self._work()) for _ in range(2 * self._concurrency)]
        self._tasks = [asyncio.create_task(self._ask()), asyncio.create_task(self._keep_alive(ack_wait / 3))]
        self._well = True

    async def _permitted(self) -> None:
        """Know for sure that this user may ask for events: the loop's own requests would only never be served."""
        clock = asyncio.get_running_loop().time
        end = clock() + ELECTION
        while True:
            try:
                return await nudge(self._bus, self._stream, self._consumer)
            except (NatsError, OSError) as error:
                if clock() > end:
                    said = type(error).__name__
                    raise ServerUnavailable(f"{self._next} does not answer ({said}).") from error
            await asyncio.sleep(_PAUSE)

    async def stop(self, grace: float) -> None:
        """Ask for no more, let running handlers finish, and hand back the rest so that nothing waits for a timeout.

        Args:
            grace: seconds running handlers get.
        """
        if self._stopping or not self._tasks:
            return
        self._stopping = True
        self._well = False
        asking, keeping = self._tasks
        asking.cancel()
        if self._subscription is not None and self._nc.is_connected:
            # What the server sent before it saw the end of the subscription still arrives, and is handed back.
            with suppress(NatsError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        await self._release([self._queue.get_nowait() for _ in range(self._queue.qsize())])
        if self._held:
            settled = asyncio.create_task(self._all_settled())
            await asyncio.wait([settled], timeout=grace)
            settled.cancel()
        for worker in self._workers:
            worker.cancel()
        _, stuck = await asyncio.wait(self._workers, timeout=_PATIENCE)
        if stuck:
            log.error("pull.handler_ignores_stop", consumer=self._consumer, handlers=len(stuck))
        await self._release(list(self._held.values()))
        keeping.cancel()
        await asyncio.gather(asking, keeping, return_exceptions=True)

    @property
    def healthy(self) -> bool:
        """The consumer exists, the server is heard, and the loop goes on asking."""
        return self._well and not any(task.done() for task in (*self._tasks, *self._workers))

    @property
    def active(self) -> int:
        """Events in hand."""
        return len(self._held)

    @property
    def asked(self) -> int:
        """Events asked for and not yet received."""
        return self._asked

    @property
    def room(self) -> int:
        """Events it is about to ask for: it turns into a request within a second, or something is wrong here.

        0 where all hands, or all that is allowed, are in use, while the consumer is made anew, and unless the server is
        heard.
        """
        if self._stopping or self._trouble or self._silent() or not self._nc.is_connected:
            return 0
        free = self._free()
        return free if free >= self._batch else 0

    def wake(self) -> None:
        """Look again whether to ask for more."""
        self._wake.set()

    async def _all_settled(self) -> None:
        while self._held:
            self._wake.clear()
            await self._wake.wait()

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def _receive(self, msg: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if msg.headers and "Status" in msg.headers and not msg.reply:
            self._status(msg.headers)
            return
        self._asked = max(0, self._asked - 1)
        delivery = Delivery.of(msg.reply)
        self.pending = delivery.pending
        if delivery.sequence in self._held:
            # A stalled event loop let its time run out while it is in hand: working on it twice would help nobody.
            await settle.keep(self._nc, msg.reply)
            self._wake.set()
            return
        self._held[delivery.sequence] = msg, delivery
        if self._stopping:
            await self._release([(msg, delivery)])
            return
        self._queue.put_nowait((msg, delivery))
        if not self._asked:  # hands that were too few for a request beside this one are enough now
            self._consider()

    def _status(self, headers: dict[str, str]) -> None:
        """A word of the server about a request: 100 sign of life, 404/408 it ended, 409 refused, 503 nobody there."""
        code, description = headers["Status"], headers.get("Description", "")
        if code == "100":
            return
        self.pending = 0
        unserved = headers.get("Nats-Pending-Messages")
        self._asked = max(0, self._asked - int(unserved or self._asked))
        if unserved is None or "Deleted" in description:  # no request that ended, but one that was never taken
            self._trouble, self._asked = f"{code} {description}".strip(), 0
        self._wake.set()

    async def _work(self) -> None:
        while not self._stopping:
            msg, delivery = await self._queue.get()
            await self._hands.acquire()
            if self._stopping:
                await self._release([(msg, delivery)])
                return
            try:
                await self._handle(msg, delivery)
            except Exception:
                # The event stays unsettled: the server delivers it again after ack_wait.
                log.exception("pull.unsettled", consumer=self._consumer)
            self.finishing(delivery)
            self._held.pop(delivery.sequence, None)
            self._finishing.discard(delivery.sequence)
            self._consider()

    def finishing(self, delivery: Delivery) -> None:
        """An event's work is done: its hand is free for the next one, while its end is being written down."""
        if delivery.sequence not in self._finishing:
            self._finishing.add(delivery.sequence)
            self._hands.release()
            self._consider()

    def _consider(self) -> None:
        if self._stopping or self._free() >= self._batch:
            self._wake.set()

    async def _release(self, deliveries: list[tuple[Msg, Delivery]]) -> None:
        for _, delivery in deliveries:
            self._held.pop(delivery.sequence, None)
        if deliveries and not self._nc.is_connected:
            # The server delivers them again after ack_wait, which is late but safe.
            log.warning("pull.not_handed_back", consumer=self._consumer, events=len(deliveries))
            return
        handed = (self._hand_back(msg, delivery) for msg, delivery in deliveries)
        for result in await asyncio.gather(*handed, return_exceptions=True):
            if isinstance(result, BaseException):
                log.warning("pull.hand_back_failed", consumer=self._consumer, error=str(result))

    # --- asking ------------------------------------------------------------------------------------------------------

    def _free(self) -> int:
        # As many again may be about to end, but no more: an end that takes long holds back what comes next.
        free = self._concurrency - max(len(self._held) - len(self._finishing), len(self._held) - self._concurrency)
        free -= self._asked
        return free if self._allowance is None else min(free, self._allowance.free())

    @property
    def _batch(self) -> int:
        """Free hands worth a request of their own: half of them when there are many, so that requests stay rare."""
        return max(1, self._concurrency // 2) if self._asked and self._allowance is None else 1

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard, troubled, pause = loop.time(), -_CALM, 0.0
        reconnects = self._nc.stats["reconnects"]
        while True:
            self._wake.clear()
            if self._silent():
                await self._bus.probe()  # what a stalled event loop has not read yet comes before the answer
            connected = self._nc.is_connected
            if connected and reconnects != self._nc.stats["reconnects"]:
                reconnects = self._nc.stats["reconnects"]
                self._asked = 0  # the server forgot our requests when the connection broke
            if connected and self._silent():
                self._trouble, self._asked = _SILENT, 0
            if self._trouble:
                self._well = False
                pause = 0.0 if loop.time() - troubled > _CALM else min(max(0.1, pause * 2), 2.0)
                await asyncio.sleep(pause)
                troubled = loop.time()
                if await self._recover():
                    self._trouble, self._heard = "", loop.time()
                continue
            self._well = connected
            if connected and (free := self._free()) >= self._batch:
                await self._request(min(free, self._largest))
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await self._wake.wait()

    def _silent(self) -> bool:
        return bool(self._asked) and asyncio.get_running_loop().time() - self._heard > _SILENCE

    async def _request(self, count: int) -> None:
        if not self._asked:
            self._heard = asyncio.get_running_loop().time()
        self._asked += count
        expires = self._expires if self._allowance is None else min(self._expires, self._allowance.expires)
        heartbeat = min(_HEARTBEAT, expires / 2)  # the server takes no longer one
        query = {"batch": count, "expires": int(expires * _NS), "idle_heartbeat": int(heartbeat * _NS)}
        try:
            assert self._subscription is not None
            await self._nc.publish(self._next, json.dumps(query).encode(), reply=self._subscription.subject)
        except NatsError as error:
            self._asked -= count
            log.warning("pull.request_failed", consumer=self._consumer, error=str(error) or type(error).__name__)

    async def _recover(self) -> bool:
        """Make sure that the consumer is there, and that we may ask it."""
        try:
            await self._ensure()
            if self._trouble == _SILENT:
                await self._readmitted()
        except BusError as error:
            log.warning("pull.consumer_missing", consumer=self._consumer, said=self._trouble, error=str(error))
            return False
        log.info("pull.consumer_ready", consumer=self._consumer, said=self._trouble)
        return True

    async def _readmitted(self) -> None:
        """Wait for as long as this user may not ask for events. Rights change while a connection lasts."""
        told = False
        while True:
            try:
                with suppress(NatsError, OSError):  # silence again, which says nothing about rights
                    await nudge(self._bus, self._stream, self._consumer)
                return
            except AccessDenied as error:
                if not told:
                    log.warning("pull.refused", consumer=self._consumer, error=str(error))
                told = True
            await asyncio.sleep(_REFUSED)

    async def _keep_alive(self, interval: float) -> None:
        """Tell the server about everything in hand, from receipt on: a queued event must not time out either."""
        while True:
            await asyncio.sleep(interval)
            for msg, delivery in list(self._held.values()):
                if delivery.sequence in self._held:
                    with suppress(NatsError):  # while reconnecting; the next round tells again
                        await settle.keep(self._nc, msg.reply)
