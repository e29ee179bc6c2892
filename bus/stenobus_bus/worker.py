"""One handler and its events: decode, skip what is done, run, publish, remember, acknowledge."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

import structlog
from nats.aio.msg import Msg

from stenobus_contracts import Event, Reason, registry

from . import answers, settle
from .burial import bury, whereabouts
from .connection import Bus
from .envelope import CLAIM, ONLY, Delivery, Envelope, attributes, unwrap
from .errors import (
    AccessDenied,
    BusError,
    InvalidPayload,
    PermanentError,
    PublishTimeout,
    RetryableError,
    ServerUnavailable,
    StreamFull,
)
from .flow import Flow
from .ledger import Ledger
from .observer import Observer, Received
from .pull import PullLoop
from .rates import TokenBucket
from .settle import RetryPolicy
from .stats import Stats
from .topology import ConsumerSpec, apply

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=Event)
T = TypeVar("T")

#: Seconds until an event that a stopping process hands back is delivered to another one.
_HAND_BACK_DELAY: Final = 0.2
#: Seconds until another try when the bus itself fails to take a dead letter.
_BUS_TROUBLE_DELAY: Final = 10.0
#: Seconds between two questions to a bus that is out of order.
_PAUSE: Final = 1.0
#: Seconds between two tries of what this user may not do, until somebody gives it the right.
_REFUSED: Final = 15.0


class Worker(Generic[E]):
    """Runs a function for every event of one durable consumer.

    Args:
        call: returns the events to publish. It may run twice for one event, when a process dies between its effects
            and the acknowledgement; its outputs carry derived ids, so they are stored once.
        concurrency: events in hand at once.
        timeout: seconds one attempt may take.
        ledger: remember completed events, so that a duplicate is skipped even long after the server forgot it.
        lanes: further consumers of the same handler, the one to prefer first, each with the number of its events
            that are begun per event of the plain consumer while both have events waiting.
        fleet_concurrency: events in work at once over all processes; None for no such limit.
        rate: bucket of which each attempt takes a token; None for no such limit.
    """

    def __init__(
        self,
        bus: Bus,
        consumer: ConsumerSpec,
        contract: type[E],
        call: Callable[[Received[E]], Awaitable[Sequence[Event]]],
        *,
        concurrency: int = 1,
        timeout: float = 300.0,
        retry: RetryPolicy | None = None,
        ledger: bool = True,
        observer: Observer | None = None,
        lanes: Sequence[tuple[ConsumerSpec, int]] = (),
        fleet_concurrency: int | None = None,
        rate: TokenBucket | None = None,
    ) -> None:
        self.name = consumer.name
        self._bus, self._nc = bus, bus.nc
        self._consumer = consumer
        self._contract = contract
        self._call = call
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._remember = ledger
        self._ledger: Ledger | None = None
        #: Events that are being worked on, by their key in the ledger; set when one is done with.
        self._at_work: dict[str, asyncio.Event] = {}
        self._observer = observer or Observer()
        self._flow: Flow | None = None
        if lanes or fleet_concurrency or rate:
            self._flow = Flow(
                bus,
                self.name,
                self._handle,
                concurrency=concurrency,
                fleet=fleet_concurrency,
                lease=consumer.ack_wait,
                rate=rate,
            )
        self._loops = [self._pull(spec, concurrency, weight) for spec, weight in (*lanes, (consumer, 1))]
        #: Events that may be in hand at once.
        self.slots = concurrency
        self._stopping = False
        self.stats = Stats()

    async def start(self) -> None:
        """Begin to handle events.

        Raises:
            BusError: the consumer or the ledger cannot be reached.
        """
        if self._remember:
            self._ledger = await Ledger.open(self._bus, self.name)
        if self._flow:
            await self._flow.open()
        for loop in self._loops:
            await loop.start()

    async def stop(self, grace: float = 20.0) -> None:
        """Finish or hand back what is in hand.

        Args:
            grace: seconds running handlers get.
        """
        self._stopping = True
        await asyncio.gather(*(loop.stop(grace) for loop in self._loops))
        if self._flow:
            await self._flow.close()

    @property
    def healthy(self) -> bool:
        """Its consumers exist, and the loops hear from the server."""
        return all(loop.healthy for loop in self._loops) and (self._flow is None or self._flow.healthy)

    @property
    def active(self) -> int:
        """Events in hand."""
        return sum(loop.active for loop in self._loops)

    @property
    def asked(self) -> int:
        """Events asked for and not yet received."""
        return sum(loop.asked for loop in self._loops)

    @property
    def room(self) -> int:
        """Events it is about to ask for. A worker that stays like that does not do what it should."""
        return sum(loop.room for loop in self._loops)

    @property
    def handled(self) -> int:
        """Events handled since the start."""
        return self.stats.handled

    @property
    def failures(self) -> int:
        """Failed attempts since the start."""
        return self.stats.failures

    def _pull(self, consumer: ConsumerSpec, concurrency: int, weight: int) -> PullLoop:
        lane = self._flow.lane(weight) if self._flow else None
        loop = PullLoop(
            self._bus,
            consumer.stream,
            consumer.name,
            lane.handle if lane else self._handle,
            hand_back=self._hand_back,
            ensure=lambda: apply(self._bus, [consumer]),
            concurrency=concurrency,
            allowance=lane,
        )
        if lane:
            lane.loop = loop
        return loop

    # --- one event ---------------------------------------------------------------------------------------------------

    async def _handle(self, msg: Msg, delivery: Delivery) -> None:
        found = attributes(msg.headers)
        if found.get(ONLY, self.name) != self.name:
            await settle.acknowledge(self._nc, msg.reply)
            return
        try:
            limits = self._bus.limits
            limits.check_headers(msg.headers)
            limits.check_body(msg.data)
            data, found = unwrap(await self._body(msg, found), found)
            limits.check_attributes(found)
            envelope = Envelope.received(msg, delivery, self._contract.event_type, found)
            event = self._contract.model_validate_json(data)
        except Exception as error:  # a stranger's bytes, read by a contract's own validators: anything can be raised
            envelope = Envelope.received(msg, delivery, self._contract.event_type, found)
            invalid = InvalidPayload.of(error, self._contract)
            await self._bury(msg, delivery, envelope, "invalid", invalid, delivery.count)
            return
        if self._ledger is None:
            await self._attempt(Received(event, envelope, delivery, delivery.count, msg), None)
        else:
            await self._once(self._ledger, event, envelope, delivery, msg)

    async def _once(self, ledger: Ledger, event: E, envelope: Envelope, delivery: Delivery, msg: Msg) -> None:
        """Work on an event unless its effects are in place."""
        key, first = ledger.key(envelope), delivery.count == 1
        while (copy := self._at_work.get(key)) is not None:  # once that one is done with, the ledger knows
            await copy.wait()
            first = False
        self._at_work[key] = done = asyncio.Event()
        try:
            completed = await self._patiently(lambda: ledger.completed(key, first=first))
            if not completed and not first and await self._answered(envelope, msg):
                await ledger.complete(key)
                completed = True
            if completed:
                self.stats.skipped += 1
                await self._tell(self._observer.skipped(envelope, delivery))
                await settle.acknowledge(self._nc, msg.reply)
                return
            attempt = delivery.count
            if attempt > 1:
                attempt = max(1, attempt - await self._patiently(lambda: ledger.handed_back(delivery)))
            await self._attempt(Received(event, envelope, delivery, attempt, msg), key)
        finally:
            del self._at_work[key]
            done.set()

    async def _answered(self, envelope: Envelope, msg: Msg) -> bool:
        """Whether an earlier delivery of a request got as far as its answer, and no further."""
        if registry.answer_to(self._contract) is None or not answers.awaited(envelope, msg):
            return False
        return await self._patiently(lambda: answers.given(self._bus, envelope, self.name))

    async def _attempt(self, received: Received[E], key: str | None) -> None:
        if received.attempt > self._retry.attempts:
            crash = RuntimeError(f"the process ended {received.attempt - 1} times while it handled this event")
            await self._bury(received.msg, received.delivery, received.envelope, "crashed", crash, received.attempt - 1)
            return
        if self._flow:
            await self._patiently(self._flow.admit)
        started = time.perf_counter()
        try:
            await self._tell(self._observer.before(received))
            await self._publish(received, await self._outputs(received))
            if not self._flow:
                self._loops[0].finishing(received.delivery)
            remembered = self._ledger.complete(key) if self._ledger and key else None
            # The run record is written while the ledger's entry is on its way.
            await self._tell(self._observer.succeeded(received, time.perf_counter() - started))
            if remembered is not None:
                await remembered
            await settle.acknowledge(self._nc, received.msg.reply)
            self.stats.handled += 1
        except asyncio.CancelledError:
            await self._tell(self._observer.interrupted(received))
            raise
        except StreamFull as full:  # raised by what the handler published itself: no attempt of its own failed
            log.warning("handler.output_full", handler=self.name, run=received.envelope.run, error=str(full))
            await self._tell(self._observer.interrupted(received))
            await self._patiently(lambda: self._hand_back(received.msg, received.delivery))
        except PermanentError as error:
            self.stats.failures += 1
            await self._give_up(received, "permanent", error)
        except Exception as error:
            self.stats.failures += 1
            await self._try_again(received, error)
        finally:
            self.stats.seconds += time.perf_counter() - started

    async def _outputs(self, received: Received[E]) -> Sequence[Event]:
        """What the handler makes of the event. Whatever it does to end itself is an error of this attempt alone."""
        limit = asyncio.timeout(self._timeout)
        started = time.perf_counter()
        task = asyncio.current_task()
        assert task is not None
        try:
            async with limit:
                outputs = await self._call(received)
                if task.cancelling():
                    await asyncio.sleep(0)  # where a cancellation of the handler's own shows, not later
                return outputs
        except TimeoutError as error:
            if limit.expired():
                raise RetryableError(f"the handler took longer than its {self._timeout:g} s") from error
            raise
        except (asyncio.CancelledError, SystemExit) as error:
            if isinstance(error, asyncio.CancelledError) and self._stopping:
                raise
            while task.cancelling():
                task.uncancel()
            raise RuntimeError(f"the handler ended with {type(error).__name__}") from error
        finally:
            self.stats.work.observe(time.perf_counter() - started)

    async def _publish(self, received: Received[E], outputs: Sequence[Event]) -> None:
        if not outputs:
            return
        started = time.perf_counter()
        sent = [
            (output, received.envelope.output(output, self.name, ordinal)) for ordinal, output in enumerate(outputs)
        ]
        for output, envelope in sent:
            await self._patiently(partial(self._bus.publish, output, envelope))
        for output, envelope in sent:  # an answer says that everything else is there
            if type(output).answers is self._contract and answers.awaited(received.envelope, received.msg):
                await self._patiently(partial(answers.answer, self._bus, output, envelope, received.envelope))
        self.stats.publish.observe(time.perf_counter() - started)

    async def _try_again(self, received: Received[E], error: Exception) -> None:
        if received.attempt >= self._retry.attempts:
            await self._give_up(received, "exhausted", error)
            return
        wanted = error.delay if isinstance(error, RetryableError) else None
        delay = self._retry.delay(received.attempt) if wanted is None else wanted
        log.warning(
            "handler.retry",
            handler=self.name,
            run=received.envelope.run,
            attempt=received.attempt,
            delay=round(delay, 2),
            error=f"{type(error).__name__}: {error}",
        )
        self.stats.retried += 1
        await self._tell(self._observer.failed(received, error, delay))
        await settle.later(self._nc, received.msg.reply, delay)

    async def _give_up(self, received: Received[E], reason: Reason, error: BaseException) -> None:
        await self._bury(received.msg, received.delivery, received.envelope, reason, error, received.attempt)

    async def _bury(
        self, msg: Msg, delivery: Delivery, envelope: Envelope, reason: Reason, error: BaseException, attempts: int
    ) -> None:
        log.error(
            "handler.dead_letter",
            handler=self.name,
            run=envelope.run,
            reason=reason,
            error=f"{type(error).__name__}: {error}",
        )
        trace = "".join(traceback.format_exception(error)) if error.__traceback__ else None
        try:
            await bury(self._bus, self.name, msg, delivery, envelope, reason, error, attempts, trace)
        except BusError as trouble:
            # Stored before terminated: without its dead letter the event must stay.
            log.error("handler.dead_letter_failed", handler=self.name, error=str(trouble))
            await settle.later(self._nc, msg.reply, _BUS_TROUBLE_DELAY)
            return
        self.stats.dead[reason] += 1
        await self._tell(self._observer.buried(envelope, delivery, reason, error))
        await settle.terminate(self._nc, msg.reply, whereabouts(self.name, reason))

    async def _body(self, msg: Msg, found: dict[str, str]) -> bytes:
        if CLAIM not in found:
            return msg.data
        body = await self._patiently(lambda: self._bus.claims.check_out(msg.data))
        self._bus.limits.check_body(body)
        return body

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the bus answers, however long it is out of order or full. The event stays in hand: settling it, or
        letting its time run out, would use up its attempts without a single one."""
        while True:
            try:
                return await ask()
            except (ServerUnavailable, PublishTimeout) as trouble:
                log.warning("handler.bus_trouble", handler=self.name, error=str(trouble))
                pause = _REFUSED if isinstance(trouble, AccessDenied) else _PAUSE
            await asyncio.sleep(pause)

    async def _tell(self, hook: Awaitable[None]) -> None:
        """Report to the observer, whose own trouble must not decide over an event."""
        try:
            await hook
        except Exception as trouble:
            log.warning("handler.observer_failed", handler=self.name, error=f"{type(trouble).__name__}: {trouble}")

    async def _hand_back(self, msg: Msg, delivery: Delivery) -> None:
        if self._ledger is not None:
            await self._ledger.hand_back(delivery)
        await settle.later(self._nc, msg.reply, _HAND_BACK_DELAY)
