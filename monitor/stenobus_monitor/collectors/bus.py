"""The bus: what waits for whom, who works, what became a dead letter, what the server advises, what time it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError

from stenobus_bus import Bus, BusError, dead_letters
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import domain_stream, handler_of
from stenobus_contracts import BusAlert, DeadLetter
from stenobus_core.board import is_bucket
from stenobus_core.lag import Lag, gather, lags, oldest, stream_sizes
from stenobus_core.service import Alive, alive

from ..observations import Advised, ClockSeen, HandlerSeen, LetterSeen, LettersRising, StreamSeen
from . import Emit
from .answering import answers

log = structlog.get_logger(__name__)

#: Seconds the server gets for each round of questions.
_DEADLINE: Final = 3.0
#: Seconds without any answer after which the server counts as silent.
_SILENT: Final = 5.0
#: Seconds services get to answer: on a busy machine a healthy one may need most of it.
_ALIVE: Final = 1.0
#: Questions for which a service that does not answer any more is waited for.
_MISSED: Final = 6
#: Services are asked so many times as often as the bus is looked at, and a handler in doubt is looked at with them, for
#: at most so many polls: what it is has shown by then.
_CLOSER: Final = 3
_IN_DOUBT: Final = 3
#: Part of a poll that lies between two looks at least, however long a look takes.
_REST: Final = 0.1
#: Dead letters and alerts that are read in one look; the rest waits for the next one.
_AT_ONCE: Final = 500
#: Characters of an error that are kept.
_LONGEST: Final = 500
#: What the server is asked to hear whether it answers, and what time it has.
_QUESTION: Final = f"STREAM.INFO.{dead_letters.STREAM}"
_ADVISORIES: Final = "$JS.EVENT.ADVISORY.>"
#: Advisories that wait to be told; a flood of them says nothing more than these.
_WAITING: Final = 1000
_TYPE: Final = "io.nats.jetstream.advisory.v1."
#: Advisories about every call of the API: there are many, and they say what somebody asked.
_AUDIT: Final = "api_audit"


class BusCollector:
    """Looks at one server.

    Args:
        every: seconds between two looks.
        places: sequences up to which dead letters and alerts were told before, by stream.
        pauses: until when the monitor itself paused which handlers.
    """

    name = "bus"

    def __init__(
        self,
        bus: Bus,
        every: float = 5.0,
        places: Mapping[str, int] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses: Callable[[], Awaitable[Mapping[str, datetime]]] | None = None,
    ) -> None:
        self._bus, self._every, self._clock, self._pauses = bus, every, clock, pauses
        #: Where to go on, by stream.
        self.places = dict(places or {})
        #: Handlers that were there at the latest look; None before the first one.
        self._handlers: frozenset[str] | None = None
        #: Since when nobody answers for a handler.
        self._silent: dict[str, datetime] = {}
        #: Questions that each service has not answered, by its id.
        self._missed: dict[str, int] = {}
        #: Handlers that seem to stand still: their streams, and since when.
        self._doubts: dict[str, tuple[str, datetime]] = {}

    async def run(self, emit: Emit) -> None:
        """Look again and again, and hear the advisories in between. Raises BusError once the server is silent."""
        heard: asyncio.Queue[Msg] = asyncio.Queue(_WAITING)

        async def hear(message: Msg) -> None:
            if not heard.full():
                heard.put_nowait(message)

        subscription = await self._bus.nc.subscribe(_ADVISORIES, cb=hear)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._advisories(heard, emit))
                group.create_task(self._patrol(emit))
                group.create_task(self._listen())
        finally:
            if not self._bus.nc.is_closed:
                await subscription.unsubscribe()

    async def look(self, emit: Emit) -> None:
        """Tell of everything once. Raises BusError."""
        await self._time(emit)
        asked = self._clock()  # what is deleted while services take their time was there before
        sizes, services = await asyncio.gather(stream_sizes(self._bus), self._services(asked))
        for size in sizes:
            await emit(
                StreamSeen(
                    at=asked,
                    stream=size.name,
                    messages=size.messages,
                    bytes=size.bytes,
                    max_messages=size.max_messages,
                    max_bytes=size.max_bytes,
                )
            )
        names = [size.name for size in sizes if size.consumers and not is_bucket(size)]
        lagging = await self._lags(names)
        self._handlers = frozenset(handler_of(lag.handler) for lag in lagging)
        there = {lag.handler for lag in lagging}
        self._doubts = {name: doubt for name, doubt in self._doubts.items() if name in there}
        await self._tell(asked, lagging, services, emit)
        await self._letters(emit)
        await self._alerts(emit)

    async def look_closer(self, emit: Emit) -> None:
        """Tell again of handlers that seemed to stand still, and of nothing else. Raises BusError."""
        asked = self._clock()
        services = await self._services(asked)
        lagging = await self._lags(sorted({stream for stream, _ in self._doubts.values()}))
        await self._tell(asked, [lag for lag in lagging if lag.handler in self._doubts], services, emit)

    async def ask(self) -> None:
        """Hear who answers, so that a look knows since when somebody does not."""
        await self._services(self._clock())

    @property
    def in_doubt(self) -> bool:
        """Whether to look closer, before the next look."""
        since = (since for _, since in self._doubts.values())
        return any((self._clock() - each).total_seconds() < _IN_DOUBT * self._every for each in since)

    async def _patrol(self, emit: Emit) -> None:
        """Look at a fixed rate. A look that fails may have met one slow answer: two of them say something."""
        loop = asyncio.get_running_loop()
        due, stumbled = loop.time(), False
        while True:
            try:
                await self.look(emit)
                for part in range(1, _CLOSER):
                    closer = due + part * self._every / _CLOSER
                    if loop.time() <= closer:
                        await asyncio.sleep(closer - loop.time())
                        await (self.look_closer(emit) if self.in_doubt else self.ask())
                stumbled = False
            except BusError as error:
                if stumbled:
                    raise
                stumbled = True
                log.warning("monitor.look_failed", error=str(error))
            due = max(due + self._every, loop.time() + _REST * self._every)
            await asyncio.sleep(due - loop.time())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begin = loop.time()
            await answers(self._bus, _QUESTION, _SILENT)
            await asyncio.sleep(begin + self._every - loop.time())

    async def _services(self, asked: datetime) -> list[Alive]:
        """Who answers now. Whoever did before is waited for, and any process of a handler that nobody speaks for."""
        expected = frozenset(self._missed)

        def enough(found: Sequence[Alive]) -> bool:
            if self._handlers is None:
                return False
            spoken = {name for service in found for name in service.handlers}
            return expected <= {service.id for service in found} and self._handlers <= spoken

        found = await alive(self._bus, _ALIVE, enough)
        here = {service.id: 0 for service in found if service.handlers}
        away = {id: missed + 1 for id, missed in self._missed.items() if id not in here and missed + 1 < _MISSED}
        self._missed = here | away
        spoken = {name for service in found for name in service.handlers}
        self._silent = {name: self._silent.get(name, asked) for name in (self._handlers or ()) if name not in spoken}
        return found

    async def _lags(self, streams: Sequence[str]) -> list[Lag]:
        found = await gather(streams, lambda name: lags(self._bus, name), deadline=_DEADLINE)
        return [lag for several in found.values() for lag in several if lag.plugin]

    async def _tell(self, asked: datetime, lagging: Sequence[Lag], services: Sequence[Alive], emit: Emit) -> None:
        ages = await gather(lagging, lambda lag: oldest(self._bus, lag), deadline=_DEADLINE)
        pauses = await self._pauses() if self._pauses and any(lag.paused for lag in lagging) else {}
        now = self._clock()
        for lag in lagging:
            until = pauses.get(handler_of(lag.handler))
            held = lag.paused and until is not None and until > now
            since = self._silent.get(handler_of(lag.handler), asked)
            seen = _handler(asked, lag, ages.get(lag), services, ours=held, since=since)
            if seen.stands:
                self._doubts.setdefault(seen.handler, (seen.stream, asked))
            else:
                self._doubts.pop(seen.handler, None)
            await emit(seen)

    async def _time(self, emit: Emit) -> None:
        """The server's clock. The time that asking takes is all that is not known about it."""
        before = self._clock()
        told = (await self._bus.api(_QUESTION))["ts"]
        after = self._clock()
        half = (after - before) / 2
        server = datetime.fromisoformat(told).astimezone(UTC)
        await emit(ClockSeen(at=after, source="nats", ahead=server - (before + half), known_to=half))

    async def _letters(self, emit: Emit) -> None:
        for message in await self._since(dead_letters.STREAM, "dlq.>"):
            try:
                letter = DeadLetter.model_validate_json(message.data)
            except ValidationError:
                continue  # larger than an event, or somebody else's: it counts in the bus's own alert
            await emit(
                LetterSeen(
                    at=message.time,
                    handler=letter.handler,
                    reason=letter.reason,
                    event_id=letter.event_id,
                    run=letter.run,
                    attempts=letter.attempts,
                    error=letter.error[:_LONGEST],
                    message=letter.message[:_LONGEST],
                )
            )

    async def _alerts(self, emit: Emit) -> None:
        for message in await self._since(domain_stream(BusAlert.subject), BusAlert.subject):
            try:
                alert = BusAlert.model_validate_json(message.data)
            except ValidationError:
                continue  # anybody can publish there
            await emit(
                LettersRising(
                    at=message.time,
                    handler=alert.handler,
                    resolved=alert.status == "resolved",
                    count=alert.count,
                    previous=alert.previous_count,
                    reason=alert.reason or "unknown",
                )
            )

    async def _since(self, stream: str, subject: str) -> list[Remembered]:
        """What came since the last look; at the first one, what comes from now on."""
        if stream not in self.places:
            self.places[stream] = (await self._bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
            return []
        found: list[Remembered] = []
        async with aclosing(read(self._bus, stream, subject, from_sequence=self.places[stream] + 1)) as stored:
            async for message in stored:
                self.places[stream] = message.sequence
                found.append(message)
                if len(found) == _AT_ONCE:
                    break
        return found

    async def _advisories(self, heard: asyncio.Queue[Msg], emit: Emit) -> None:
        while True:
            message = await heard.get()
            if (seen := _advised(message.data, self._clock())) is not None:
                await emit(seen)


def _handler(
    now: datetime, lag: Lag, age: float | None, services: Sequence[Alive], *, ours: bool, since: datetime
) -> HandlerSeen:
    name = handler_of(lag.handler)
    here = [service.handlers[name] for service in services if name in service.handlers]
    return HandlerSeen(
        at=now,
        handler=lag.handler,
        stream=lag.stream,
        plugin=lag.plugin,
        pending=lag.pending,
        unsettled=lag.unsettled,
        redelivered=lag.redelivered,
        unsettled_limit=lag.unsettled_limit,
        subjects=lag.subjects,
        waiting=lag.waiting,
        paused=lag.paused,
        ours=ours,
        floor=lag.floor,
        oldest=age,
        processes=len(here),
        in_hand=sum(figures["active"] for figures in here),
        slots=sum(figures["slots"] for figures in here),
        handled=sum(figures["handled"] for figures in here),
        failures=sum(figures["failures"] for figures in here),
        asked=_sum(here, "asked"),
        room=_sum(here, "room"),
        silent_since=None if here else since,
    )


def _sum(told: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """None where a process of an older version does not tell."""
    return sum(figures[name] for figures in told) if all(name in figures for figures in told) else None


def _advised(data: bytes, at: datetime) -> Advised | None:
    """An advisory, None for what says nothing about a stream or consumer."""
    try:
        told: Any = json.loads(data)
        kind = str(told["type"]).removeprefix(_TYPE)
        if kind == _AUDIT:
            return None
        if action := told.get("action"):
            kind = f"{kind}.{action}"
        return Advised(
            at=at,
            kind=kind[:100],
            stream=str(told.get("stream", ""))[:200],
            consumer=str(told.get("consumer", ""))[:200],
            sequence=int(told.get("stream_seq") or 0),
            deliveries=int(told.get("deliveries") or 0),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # whoever may publish there may publish anything
