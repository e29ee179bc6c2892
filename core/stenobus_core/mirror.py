"""Copies the run record into a further store, as it is written: nothing is lost while that store is away."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError

from stenobus_bus import Bus, BusError, Delivery, PermanentError, RetryableError, RetryPolicy, apply, settle
from stenobus_bus.pull import PullLoop
from stenobus_bus.topology import ConsumerSpec

from .errors import PluginError
from .run_stores import Copies
from .runs import BUCKET, Step

log = structlog.get_logger(__name__)

_STREAM: Final = f"KV_{BUCKET}"
#: Steps on their way to the store at once, per process.
_HANDS: Final = 4
#: Seconds until another try of what somebody has to mend first.
_LATER: Final = 30.0
#: Seconds between two looks at what is not copied yet.
_LOOK: Final = 0.1


def consumer(store: str) -> ConsumerSpec:
    """The place in the run record up to which it is copied; all mirrors of a store share it.

    A new one begins with all that the bucket holds. Of a step that was written again meanwhile, only the last state
    is delivered: the bucket keeps no other.
    """
    return ConsumerSpec(
        _STREAM, f"mirror-{store}", f"$KV.{BUCKET}.>", max_deliver=-1, description=f"Copies runs to {store}"
    )


class Mirror:
    """Copies every state of every step into a store. Any number of processes may run one.

    The store may be throttled, away or set up wrongly for as long as it likes: the bucket keeps what is not copied yet.
    Nothing else tries again, neither the store nor its SDK.

    Args:
        name: of the store.
        retry: how long a hand waits after a failure that may pass, and holds back what comes behind.
    """

    def __init__(self, bus: Bus, name: str, store: Copies, *, retry: RetryPolicy | None = None) -> None:
        self._bus, self._name, self._store = bus, name, store
        self._retry = retry or RetryPolicy(base=0.5, cap=60.0)
        self._consumer = consumer(name)
        self._loop = PullLoop(
            bus,
            self._consumer.stream,
            self._consumer.name,
            self._handle,
            hand_back=lambda msg, _: settle.later(bus.nc, msg.reply, 0),
            ensure=lambda: apply(bus, [self._consumer]),
            concurrency=_HANDS,
        )

    async def start(self) -> None:
        """Begin to copy.

        Raises:
            PluginError: the store cannot be used as it is set up.
            AccessDenied: this user may not read the run record.
            BusError: the consumer cannot be declared.
        """
        try:
            await self._store.check()
        except RetryableError as error:
            log.warning("mirror.waiting", store=self._name, error=str(error))
        except PermanentError as error:
            raise PluginError(f"The run store {self._name} cannot be used: {error}") from error
        await self._loop.start()

    async def stop(self, grace: float = 0.0) -> None:
        """Copy what was written so far, then stop; what is left over, a later process copies.

        Args:
            grace: seconds for that.
        """
        try:
            async with asyncio.timeout(grace):
                last = int((await self._bus.api(f"STREAM.INFO.{_STREAM}"))["state"]["last_seq"])
                while not await self._copied(last):
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            log.warning("mirror.behind", store=self._name, seconds=grace)
        except BusError as error:
            log.warning("mirror.behind", store=self._name, error=str(error))
        await self._loop.stop(0)

    async def _copied(self, last: int) -> bool:
        """Everything up to a place in the record is in the store."""
        info = await self._bus.api(f"CONSUMER.INFO.{self._consumer.stream}.{self._consumer.name}")
        idle = info["num_pending"] == 0 and info["num_ack_pending"] == 0
        return idle or int(info["ack_floor"]["stream_seq"]) >= last

    async def _handle(self, msg: Msg, delivery: Delivery) -> None:
        try:
            step = Step.model_validate_json(msg.data) if msg.data else None  # a deleted key is empty
        except ValidationError as error:
            log.warning("mirror.unreadable", subject=msg.subject, error=str(error))
            step = None
        try:
            if step is not None:
                await self._copy(step)
        except PermanentError as error:
            log.error("mirror.refused", store=self._name, run=step and step.run, error=str(error))
            await settle.later(self._bus.nc, msg.reply, _LATER)
            return
        await settle.acknowledge(self._bus.nc, msg.reply)

    async def _copy(self, step: Step) -> None:
        attempt = 0
        while True:
            try:
                await self._store.put(step)
                return
            except RetryableError as error:
                attempt += 1
                delay = self._retry.delay(attempt) if error.delay is None else error.delay
                log.warning("mirror.waiting", store=self._name, seconds=round(delay, 1), error=str(error))
                await asyncio.sleep(delay)
