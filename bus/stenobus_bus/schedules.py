"""Schedules: events that are published when it is time, once per occurrence, whichever processes live.

nats-server holds the alarm: an ``@at`` message in the stream SCHEDULES, which outlives every restart and appears on
another subject of that stream when it is time. That is a wake-up and nothing more. Whoever receives it works out from
the schedule itself which occurrences are due since the last time, publishes their events under ids that follow from
schedule and occurrence, remembers how far it got, and sets the next alarm. So a wake-up that is lost, late, repeated
or handled by two processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ConfigDict

from stenobus_contracts import Event

from . import settle
from .connection import Bus
from .envelope import Delivery, Envelope, derived_id
from .errors import BusError, ServerUnavailable
from .pull import PullLoop
from .settle import RetryPolicy
from .timing import Occurrence, Timing, latest
from .topology import Change, ConsumerSpec, StreamSpec
from .topology import apply as declare

log = structlog.get_logger(__name__)

STREAM: Final = "SCHEDULES"
BUCKET: Final = "stenobus_schedules"
#: An occurrence that is later than this is missed, for a schedule that skips missed ones.
PUNCTUAL: Final = timedelta(seconds=60)

_SCHEDULE: Final = "Nats-Schedule"
_PATIENCE: Final = RetryPolicy(base=1.0, cap=60.0)

CatchUp = Literal["once", "all", "skip"]


def stream() -> StreamSpec:
    """The stream of alarms. Streams of events refuse new messages when they are full, and then hold no alarms."""
    return StreamSpec(
        name=STREAM,
        subjects=("schedules.>",),
        # One alarm and one wake-up per schedule: more of them would say nothing more.
        required={"retention": "limits", "allow_msg_schedules": True, "max_msgs_per_subject": 1, "discard": "old"},
        initial={
            "storage": "file",
            "allow_msg_ttl": True,
            "allow_direct": True,
            "description": "Alarms of Stenobus schedules",
        },
    )


def consumer(plugin: str, ack_wait: float = 30.0) -> ConsumerSpec:
    """The consumer of a plugin's wake-ups, which its processes share."""
    return ConsumerSpec(
        stream=STREAM,
        name=plugin,
        subject=f"schedules.due.{plugin}.>",
        ack_wait=ack_wait,
        max_deliver=-1,
        description=f"Stenobus schedules of the plugin {plugin}",
    )


class Declaration(BaseModel):
    """A schedule as the bucket remembers it."""

    model_config = ConfigDict(frozen=True)

    timing: str
    timezone: str
    subject: str
    catch_up: CatchUp
    #: Digest of the event, empty when the plugin makes one for each occurrence.
    event: str
    #: Since when it is declared like this; earlier occurrences are none of its own.
    since: datetime

    def differences(self, other: Declaration) -> dict[str, tuple[Any, Any]]:
        """What another one says differently: setting → (here, there)."""
        mine, theirs = self.model_dump(exclude={"since"}), other.model_dump(exclude={"since"})
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


class Progress(BaseModel):
    """How far a schedule got."""

    model_config = ConfigDict(frozen=True)

    #: Every occurrence up to here is settled.
    until: datetime
    #: The last occurrence whose event was published.
    fired: datetime | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A schedule that must exist.

    Args:
        plugin: whose it is; nobody else's processes touch it.
        name: unique in the plugin.
        contract: of the events.
        event: makes the event of an occurrence.
        fixed: the event when all occurrences have the same; a change of it is a change of the schedule.
        catch_up: what becomes of occurrences that were missed while no process of the plugin or no server ran:
            ``once`` publishes the last of them, ``all`` each of them, ``skip`` none.
    """

    plugin: str
    name: str
    timing: Timing
    contract: type[Event]
    event: Callable[[Occurrence], Event]
    fixed: Event | None = None
    catch_up: CatchUp = "once"

    @property
    def id(self) -> str:
        """The name that no other plugin's schedule has."""
        return f"{self.plugin}.{self.name}"

    def declaration(self, since: datetime) -> Declaration:
        """What the bucket has to say about it."""
        return Declaration(
            timing=self.timing.text,
            timezone=self.timing.zone.key,
            subject=self.contract.subject,
            catch_up=self.catch_up,
            event=derived_id(self.fixed.body().decode()) if self.fixed else "",
            since=since,
        )

    def due(self, after: datetime, now: datetime) -> Iterator[Occurrence]:
        """The occurrences between two instants that are to be published, oldest first."""
        if self.catch_up == "all":
            while (occurrence := self.timing.next(after)) is not None and occurrence.at <= now:
                yield occurrence
                after = occurrence.at
            return
        last = latest(self.timing, after, now)
        if last is not None and (self.catch_up == "once" or now - last.at <= PUNCTUAL):
            yield last

    def envelope(self, event: Event, key: str, time: datetime) -> Envelope:
        """The envelope of an occurrence's event: schedule and occurrence make its id and its run."""
        run = f"{self.plugin}-{self.name}-{key.replace(':', '')}"
        new = Envelope.new(event, f"stenobus/schedules/{self.id}", run=run, id=derived_id("schedule", self.id, key))
        return replace(new, time=time.isoformat())


class Schedules:
    """What the server knows about schedules."""

    def __init__(self, bus: Bus, bucket: KeyValue) -> None:
        self._bus, self._bucket = bus, bucket

    @classmethod
    async def open(cls, bus: Bus) -> Self:
        """The schedules of a bus. Raises ServerUnavailable."""
        return cls(bus, await bus.bucket(BUCKET))

    async def ids(self) -> list[str]:
        """Every declared schedule. Raises ServerUnavailable."""
        keys = f"$KV.{BUCKET}.declared."
        info = await self._bus.api(f"STREAM.INFO.KV_{BUCKET}", {"subjects_filter": f"{keys}>"})
        names = [subject.removeprefix(keys) for subject in info["state"].get("subjects") or {}]
        return [id for id in sorted(names) if (await self.declared(id))[0]]

    async def declared(self, id: str) -> tuple[Declaration | None, int]:
        """How a schedule is declared, and the revision that says so. Raises ServerUnavailable."""
        value, revision = await self._get(f"declared.{id}")
        return (Declaration.model_validate_json(value) if value else None), revision

    async def progress(self, id: str) -> tuple[Progress | None, int]:
        """How far a schedule got, and the revision that says so. Raises ServerUnavailable."""
        value, revision = await self._get(f"progress.{id}")
        return (Progress.model_validate_json(value) if value else None), revision

    async def alarm(self, id: str) -> tuple[datetime | None, int]:
        """When its alarm is set for, and its place in the stream; None and 0 without one. Raises ServerUnavailable."""
        try:
            msg = await self._bus.js.get_last_msg(STREAM, f"schedules.alarm.{id}")
        except NotFoundError:
            return None, 0
        except NatsError as error:
            raise _silent(error) from error
        when = (msg.headers or {}).get(_SCHEDULE, "").removeprefix("@at ")
        return (datetime.fromisoformat(when) if when else None), msg.seq or 0

    async def declare(self, id: str, declaration: Declaration, revision: int) -> None:
        """Write a declaration over the one of a revision. Raises Overtaken, ServerUnavailable."""
        await self._put(f"declared.{id}", declaration, revision)

    async def advance(self, id: str, progress: Progress, revision: int) -> int:
        """Write the progress over the one of a revision; the new revision. Raises Overtaken, ServerUnavailable."""
        return await self._put(f"progress.{id}", progress, revision)

    async def set_alarm(self, id: str, at: datetime, over: int) -> None:
        """Set the alarm, unless somebody else did since it was looked at.

        Args:
            over: place in the stream of the alarm that it replaces, 0 for none.

        Raises:
            PublishFailed: somebody else did, or the server does not answer.
        """
        headers = {
            _SCHEDULE: f"@at {at.isoformat().replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": f"schedules.due.{id}",
            "Nats-TTL": "never",  # whatever age the stream is set to
            "Nats-Expected-Last-Subject-Sequence": str(over),
        }
        await self._bus.store(f"schedules.alarm.{id}", b"", headers)

    async def forget(self, id: str) -> None:
        """Remove a schedule. Raises ServerUnavailable."""
        try:
            for key in (f"declared.{id}", f"progress.{id}"):
                await self._bucket.delete(key)
        except NatsError as error:
            raise _silent(error) from error
        for kind in ("alarm", "due"):
            await self._bus.api(f"STREAM.PURGE.{STREAM}", {"filter": f"schedules.{kind}.{id}"})

    async def _get(self, key: str) -> tuple[bytes, int]:
        try:
            entry = await self._bucket.get(key)
        except KeyDeletedError as error:
            return b"", error.entry.revision or 0
        except KeyNotFoundError:
            return b"", 0
        except NatsError as error:
            raise _silent(error) from error
        return entry.value or b"", entry.revision or 0

    async def _put(self, key: str, value: BaseModel, revision: int) -> int:
        try:
            return await self._bucket.update(key, value.model_dump_json().encode(), last=revision)
        except KeyWrongLastSequenceError as error:
            raise Overtaken(f"Another process wrote {key} at the same time.") from error
        except NatsError as error:
            raise _silent(error) from error


class Overtaken(BusError):
    """Another process declared or wrote the same thing; look again."""


async def plan(bus: Bus, specs: Iterable[ScheduleSpec], plugins: Collection[str]) -> list[Change]:
    """What differs between schedules and the server.

    Args:
        plugins: whose schedules these are, all of them: a further one that the server has of these plugins goes.
    """
    specs = list(specs)
    try:
        schedules = await Schedules.open(bus)
    except ServerUnavailable:
        await bus.api("INFO")  # the server answers: it is only the bucket that is not there yet
        return [Change("create", f"schedule {spec.id}", {}) for spec in specs]
    compared = [await _compare(schedules, spec) for spec in specs]
    return [*compared, *(Change("remove", f"schedule {id}", {}) for id in await _undeclared(schedules, specs, plugins))]


async def apply(bus: Bus, specs: Iterable[ScheduleSpec], plugins: Collection[str]) -> list[Change]:
    """Make the server match the schedules; one that is as declared already goes on as if nothing had been.

    Args:
        plugins: as for :func:`plan`.

    Returns:
        What was done.
    """
    specs = list(specs)
    schedules = await Schedules.open(bus)
    changes = [await _declare(schedules, spec) for spec in specs]
    for id in await _undeclared(schedules, specs, plugins):
        await schedules.forget(id)
        changes.append(Change("remove", f"schedule {id}", {}))
    return changes


async def _undeclared(schedules: Schedules, specs: list[ScheduleSpec], plugins: Collection[str]) -> list[str]:
    known = {spec.id for spec in specs}
    return [id for id in await schedules.ids() if id not in known and id.partition(".")[0] in plugins]


async def _compare(schedules: Schedules, spec: ScheduleSpec) -> Change:
    label = f"schedule {spec.id}"
    now = datetime.now(UTC)
    declared, _ = await schedules.declared(spec.id)
    if declared is None:
        return Change("create", label, {})
    if differences := declared.differences(spec.declaration(now)):
        return Change("update", label, differences)
    progress, _ = await schedules.progress(spec.id)
    wanted = spec.timing.next(_settled(declared, progress).until)
    alarm, _ = await schedules.alarm(spec.id)
    if wanted is not None and alarm != wanted.at > now:
        return Change("update", label, {"alarm": (alarm, wanted.at)})
    return Change("none", label, {})


async def _declare(schedules: Schedules, spec: ScheduleSpec) -> Change:
    while True:
        alarm, place = await schedules.alarm(spec.id)
        change = await _compare(schedules, spec)
        declared, revision = await schedules.declared(spec.id)
        wanted = spec.declaration(datetime.now(UTC))
        try:
            if declared is None or declared.differences(wanted):
                await schedules.declare(spec.id, wanted, revision)
                declared = wanted
        except Overtaken:
            continue
        progress, _ = await schedules.progress(spec.id)
        await _set_alarm(schedules, spec, _settled(declared, progress).until, alarm, place)
        return change


async def _set_alarm(
    schedules: Schedules, spec: ScheduleSpec, after: datetime, alarm: datetime | None, place: int
) -> None:
    """Set the alarm for the first occurrence after an instant, unless it is set for it already."""
    following = spec.timing.next(after)
    if following is not None and following.at != alarm:
        await schedules.set_alarm(spec.id, following.at, place)


def _settled(declared: Declaration, progress: Progress | None) -> Progress:
    """How far a schedule got, counted from its declaration."""
    if progress is None:
        return Progress(until=declared.since)
    return progress.model_copy(update={"until": max(progress.until, declared.since)})


class Clock:
    """Publishes the events of one plugin's schedules when it is time. Any number of processes may run one.

    Args:
        specs: the plugin's schedules, declared by :func:`apply`.
    """

    def __init__(self, bus: Bus, plugin: str, specs: Iterable[ScheduleSpec], ack_wait: float = 30.0) -> None:
        self._bus, self._plugin = bus, plugin
        self._specs = {spec.id: spec for spec in specs}
        self._loop = PullLoop(
            bus,
            STREAM,
            plugin,
            self._handle,
            hand_back=self._hand_back,
            ensure=lambda: declare(bus, [consumer(plugin, ack_wait)]),
            concurrency=4,
        )

    async def start(self) -> None:
        """Begin to listen for alarms. Raises BusError."""
        await self._loop.start()

    async def stop(self, grace: float = 20.0) -> None:
        """Finish or hand back what is in hand.

        Args:
            grace: seconds that publishing gets.
        """
        await self._loop.stop(grace)

    @property
    def healthy(self) -> bool:
        """The consumer exists and the loop hears from the server."""
        return self._loop.healthy

    async def _handle(self, msg: Msg, delivery: Delivery) -> None:
        id = msg.subject.removeprefix("schedules.due.")
        # The server's clock set off the alarm: by ours it may be too early.
        rung = datetime.fromtimestamp(delivery.timestamp / 1e9, UTC)
        try:
            await self._fire(id, max(rung, datetime.now(UTC)))
        except Exception as error:  # the plugin's own function makes the event: anything can be raised
            delay = _PATIENCE.delay(delivery.count)
            log.error("schedule.failed", schedule=id, delay=round(delay, 2), error=f"{type(error).__name__}: {error}")
            await settle.later(self._bus.nc, msg.reply, delay)
        else:
            await settle.acknowledge(self._bus.nc, msg.reply)

    async def _fire(self, id: str, now: datetime) -> None:
        """Publish what is due, and set the alarm for what comes next."""
        schedules = await Schedules.open(self._bus)
        alarm, place = await schedules.alarm(id)  # before all else: what was declared meanwhile must not be overwritten
        declared, _ = await schedules.declared(id)
        if declared is None:
            return
        spec = self._specs.get(id)
        if spec is None or declared.differences(spec.declaration(now)):
            raise Overtaken(f"Another version of the plugin {self._plugin} declared it; its processes are to fire it.")
        progress, revision = await schedules.progress(id)
        settled = _settled(declared, progress)
        for occurrence in spec.due(settled.until, now):
            envelope = await self._publish(spec, occurrence)
            settled = Progress(until=occurrence.at, fired=occurrence.at, run=envelope.run)
            revision = await schedules.advance(id, settled, revision)
        if (skipped := latest(spec.timing, settled.until, now)) is not None:
            log.warning("schedule.skipped", schedule=id, until=skipped.key)
            settled = settled.model_copy(update={"until": skipped.at})
            await schedules.advance(id, settled, revision)
        await _set_alarm(schedules, spec, settled.until, alarm, place)

    async def _publish(self, spec: ScheduleSpec, occurrence: Occurrence) -> Envelope:
        event = spec.event(occurrence)
        envelope = spec.envelope(event, occurrence.key, occurrence.at)
        await self._bus.publish(event, envelope)
        log.info("schedule.fired", schedule=spec.id, occurrence=occurrence.key, run=envelope.run)
        return envelope

    async def _hand_back(self, msg: Msg, delivery: Delivery) -> None:
        await settle.later(self._bus.nc, msg.reply, 0.0)


def _silent(error: NatsError) -> ServerUnavailable:
    return ServerUnavailable(f"The bucket {BUCKET} or the stream {STREAM} does not answer ({type(error).__name__}).")
