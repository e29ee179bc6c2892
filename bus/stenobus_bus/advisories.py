"""Events that nobody is left to bury: the server's advisories say which, and become dead letters.

The server gives up on an event after ``max_deliver`` deliveries, and any client may terminate one. It says so once, in
an advisory that holds no more than the event's place. A stream keeps the advisories; the undertaker, of which every
host process runs one, works through them and buries what its handler did not bury itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Literal

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stenobus_contracts import Reason

from . import settle
from .burial import LetterBook, bury, whereabouts
from .connection import ApiError, Bus
from .envelope import ONLY, Delivery, Envelope
from .errors import Abandoned, BusError
from .history import find
from .ledger import Ledger
from .pull import PullLoop, nudge
from .topology import CONSUMER_NOT_FOUND, HANDLER, STREAM_NOT_FOUND, Config, ConsumerSpec, StreamSpec, apply, handler_of

log = structlog.get_logger(__name__)

STREAM: Final = "ADVISORIES"
#: Name of the durable consumer.
UNDERTAKER: Final = "undertaker"

_SUBJECTS: Final = "$JS.EVENT.ADVISORY.CONSUMER"
_DAY: Final = 86_400 * 1_000_000_000  # JetStream counts in nanoseconds
#: Seconds until another try when the bus is out of order.
_BUS_TROUBLE_DELAY: Final = 10.0
#: Seconds until another look for an event that a copy of its stream may not have yet.
_SECOND_LOOK: Final = 1.0
#: Seconds between two looks after consumers that nobody serves.
_PATROL: Final = 30.0

Buried = Callable[[Envelope, Delivery, Reason, BaseException], Awaitable[None]]


def stream() -> StreamSpec:
    """Where the server's advisories wait for the undertaker. Whatever becomes of it, the server must not be filled."""
    return StreamSpec(
        name=STREAM,
        subjects=(f"{_SUBJECTS}.MAX_DELIVERIES.>", f"{_SUBJECTS}.MSG_TERMINATED.>"),
        required={"retention": "limits", "discard": "old", "allow_direct": True},
        initial={
            "storage": "file",
            "max_age": 7 * _DAY,
            "max_bytes": 64 * 1024 * 1024,
            "description": "Events that the server gave up on or that somebody terminated",
        },
    )


def consumer() -> ConsumerSpec:
    """What all undertakers share."""
    return ConsumerSpec(
        STREAM, UNDERTAKER, f"{_SUBJECTS}.>", max_deliver=-1, description="Buries what no handler buried"
    )


class Advisory(BaseModel):
    """What the server says: ``io.nats.jetstream.advisory.v1.max_deliver`` or ``…terminated``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["io.nats.jetstream.advisory.v1.max_deliver", "io.nats.jetstream.advisory.v1.terminated"]
    stream: str = Field(pattern=r"^[^\s.*>]+$")
    consumer: str = Field(pattern=r"^[^\s.*>]+$")
    stream_seq: int = Field(ge=1, lt=2**64)
    deliveries: int = 1
    #: What the client that terminated it said.
    reason: str = ""

    @property
    def given_up(self) -> tuple[Reason, str]:
        """The dead letter's reason, and one sentence."""
        if self.type.endswith("max_deliver"):
            return "undelivered", f"the server gave up after {self.deliveries} deliveries that nobody settled"
        return "terminated", "another client terminated it" + (f": {self.reason}" if self.reason else "")


class Undertaker:
    """Turns advisories about handlers' consumers into dead letters: one per event, however many undertakers run.

    Args:
        buried: told about each letter, as :meth:`Observer.buried` is; its own trouble decides over nothing.
        patrol: seconds between two looks after consumers that nobody serves.
    """

    def __init__(self, bus: Bus, buried: Buried, *, patrol: float = _PATROL) -> None:
        self._bus, self._buried, self._interval = bus, buried, patrol
        self._patrol: asyncio.Task[None] | None = None
        self._book = LetterBook(bus)
        self._loop = PullLoop(
            bus,
            STREAM,
            UNDERTAKER,
            self._handle,
            hand_back=lambda msg, _: settle.later(bus.nc, msg.reply, 0),
            ensure=lambda: apply(bus, [stream(), consumer()]),
        )

    async def start(self) -> None:
        """Begin to work through the advisories.

        Raises:
            BusError: the stream or the consumer cannot be declared.
            AccessDenied: this user may not do an undertaker's work.
        """
        await self._loop.start()
        self._patrol = asyncio.create_task(self._walk())

    async def stop(self, grace: float = 0.0) -> None:
        """Finish what is in hand.

        Args:
            grace: seconds for that.
        """
        if self._patrol is not None:
            self._patrol.cancel()
            await asyncio.wait([self._patrol])
        await self._loop.stop(grace)

    # --- advisories --------------------------------------------------------------------------------------------------

    async def _handle(self, msg: Msg, delivery: Delivery) -> None:
        try:
            advisory = Advisory.model_validate_json(msg.data)
        except ValidationError as error:
            log.warning("advisory.unreadable", sequence=delivery.sequence, error=str(error))
            await settle.acknowledge(self._bus.nc, msg.reply)
            return
        try:
            delay = await self._look_into(advisory, first=delivery.count == 1)
        except BusError as trouble:
            log.warning("advisory.bus_trouble", handler=advisory.consumer, error=str(trouble))
            delay = _BUS_TROUBLE_DELAY
        if delay is None:
            await settle.acknowledge(self._bus.nc, msg.reply)
        else:
            await settle.later(self._bus.nc, msg.reply, delay)

    async def _look_into(self, advisory: Advisory, *, first: bool) -> float | None:
        """Bury the event unless its handler did, or was never to do it.

        Returns:
            Seconds until another look is worth it, None when there is nothing more to do.
        """
        handler = handler_of(advisory.consumer)
        if advisory.reason.endswith(whereabouts(handler, "")):
            return None  # terminated by the handler, after it had stored the letter
        config = await self._consumer(advisory)
        if (config.get("metadata") or {}).get(HANDLER) != handler or advisory.stream == STREAM:
            return None
        original = await find(self._bus, advisory.stream, advisory.stream_seq)
        if original is None and first:
            return _SECOND_LOOK
        delivery = Delivery(
            advisory.stream,
            advisory.consumer,
            advisory.deliveries,
            advisory.stream_seq,
            original.timestamp if original else 0,
            0,
        )
        reason, message = advisory.given_up
        if original is None:
            msg, attributes = Msg(self._bus.nc, subject=config.get("filter_subject", "")), {}
            message += "; by then it was gone from its stream"
        else:
            msg = Msg(self._bus.nc, subject=original.subject, data=original.data, headers=original.headers)
            attributes = original.attributes
            if attributes.get(ONLY, handler) != handler:
                return None
        envelope = Envelope.received(msg, delivery, "unknown", attributes)
        if await self._book.holds(handler, delivery) or await self._completed(handler, envelope):
            return None
        error = Abandoned(message)
        log.error("advisory.dead_letter", handler=handler, run=envelope.run, reason=reason, error=message)
        await bury(
            self._bus, handler, msg, delivery, envelope, reason, error, advisory.deliveries, None, gone=original is None
        )
        try:
            await self._buried(envelope, delivery, reason, error)
        except Exception as trouble:
            log.warning("advisory.observer_failed", handler=handler, error=f"{type(trouble).__name__}: {trouble}")
        return None

    async def _consumer(self, advisory: Advisory) -> Config:
        """The consumer's settings. One that is gone needs nothing: made anew, it starts at the first event."""
        try:
            config: Config = (await self._bus.api(f"CONSUMER.INFO.{advisory.stream}.{advisory.consumer}"))["config"]
        except ApiError as error:
            if error.err_code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
                return {}
            raise
        return config

    async def _completed(self, handler: str, envelope: Envelope) -> bool:
        """The event's effects are in place, and only its acknowledgement was lost."""
        ledger = await Ledger.open(self._bus, handler)
        return await ledger.completed(ledger.key(envelope), first=False)

    # --- patrol ------------------------------------------------------------------------------------------------------

    async def _walk(self) -> None:
        """The server counts an event's deliveries only when somebody asks its consumer for work. Of one whose every
        process is dead nobody does: ask in their place, for no more than a single byte, so that nothing is delivered.
        """
        while True:
            await asyncio.sleep(self._interval)
            try:
                async for info in self._deserted():
                    with suppress(NatsError):
                        await nudge(self._bus, info["stream_name"], info["name"])
            except BusError as trouble:
                log.warning("advisory.bus_trouble", error=str(trouble))

    async def _deserted(self) -> AsyncIterator[dict[str, Any]]:
        """Consumers of handlers that hold unsettled events while nobody waits for more."""
        async for name in self._bus.pages("STREAM.NAMES", "streams"):
            async for info in self._bus.pages(f"CONSUMER.LIST.{name}", "consumers"):
                ours = (info["config"].get("metadata") or {}).get(HANDLER)
                if ours and info["num_ack_pending"] and not info["num_waiting"]:
                    yield info
