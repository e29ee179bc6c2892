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
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final, Literal, Self

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, ConfigDict

from stenobus_contracts import Event

from .connection import Bus
from .envelope import Envelope, derived_id
from .errors import BusError, PublishFailed, ServerUnavailable
from .timing import Occurrence, Timing, latest, upcoming
from .topology import Change, ConsumerSpec, StreamSpec

log = structlog.get_logger(__name__)

STREAM: Final = "SCHEDULES"
BUCKET: Final = "stenobus_schedules"
#: An occurrence that is later than this is missed, for a schedule that skips missed ones.
PUNCTUAL: Final = timedelta(seconds=60)

_SCHEDULE: Final = "Nats-Schedule"
_WRONG_SEQUENCE: Final = frozenset({10071, 10164})
#: How often a declaration is tried while other processes declare the same.
_TRIES: Final = 20

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
            yield from takewhile(lambda occurrence: occurrence.at <= now, upcoming(self.timing, after))
            return
        last = latest(self.timing, after, now)
        if last is not None and (self.catch_up == "once" or now - last.at <= PUNCTUAL):
            yield last

    def envelope(self, event: Event, key: str, time: datetime) -> Envelope:
        """The envelope of an occurrence's event: schedule and occurrence make its id and its run."""
        run = f"{self.plugin}-{self.name}-{key.replace(':', '')}"
        new = Envelope.new(event, f"stenobus/schedules/{self.id}", run=run, id=derived_id("schedule", self.id, key))
        return replace(new, time=time.isoformat())


@dataclass(frozen=True, slots=True)
class Known:
    """What the server knows about one schedule."""

    #: The time by the server's clock, which counts: it is the one that alarms ring by.
    now: datetime
    #: None when it is not declared.
    declared: Declaration | None
    declared_revision: int
    #: How far it got, counted from its declaration.
    progress: Progress
    progress_revision: int
    #: When the alarm is set for, None when none is.
    alarm: datetime | None
    #: Its place in the stream, 0 when none is set.
    alarm_place: int

    @property
    def ahead(self) -> bool:
        """It got to where time has not got yet: the server's clock was set back."""
        return self.progress.until > self.now + PUNCTUAL

    def following(self, timing: Timing) -> Occurrence | None:
        """The first occurrence that is not settled."""
        return timing.next(self.progress.until)


class Schedules:
    """What the server knows about schedules."""

    def __init__(self, bus: Bus, bucket: KeyValue) -> None:
        self._bus, self._bucket = bus, bucket

    @classmethod
    async def open(cls, bus: Bus) -> Self:
        """The schedules of a bus. Raises ServerUnavailable."""
        return cls(bus, await bus.bucket(BUCKET))

    async def ids(self, plugins: Collection[str] | None = None) -> list[str]:
        """Every declared schedule, or those of some plugins: under a plugin's own user only its own can be read.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        keys = f"$KV.{BUCKET}.declared."
        info = await self._bus.api(f"STREAM.INFO.KV_{BUCKET}", {"subjects_filter": f"{keys}>"})
        names = [subject.removeprefix(keys) for subject in info["state"].get("subjects") or {}]
        wanted = [id for id in sorted(names) if plugins is None or id.partition(".")[0] in plugins]
        return [id for id in wanted if (await self._get(f"declared.{id}"))[0]]

    async def look(self, id: str) -> Known:
        """All about a schedule. Raises ServerUnavailable."""
        # The alarm first: whoever sets it over this one overwrites nothing that belongs to a later declaration.
        alarm, place = await self._alarm(id)
        now = datetime.fromisoformat((await self._bus.api(f"STREAM.INFO.KV_{BUCKET}"))["ts"])
        value, declared_revision = await self._get(f"declared.{id}")
        declared = Declaration.model_validate_json(value) if value else None
        value, progress_revision = await self._get(f"progress.{id}")
        since = declared.since if declared else now
        progress = Progress.model_validate_json(value) if value else Progress(until=since)
        progress = progress.model_copy(update={"until": max(progress.until, since)})
        return Known(now, declared, declared_revision, progress, progress_revision, alarm, place)

    async def declare(self, id: str, declaration: Declaration, revision: int) -> None:
        """Write a declaration over the one of a revision. Raises Overtaken, ServerUnavailable."""
        await self._put(f"declared.{id}", declaration, revision)

    async def advance(self, id: str, progress: Progress, revision: int) -> int:
        """Write the progress over the one of a revision; the new revision. Raises Overtaken, ServerUnavailable."""
        return await self._put(f"progress.{id}", progress, revision)

    async def set_alarm(self, spec: ScheduleSpec, known: Known, after: datetime) -> None:
        """Set the alarm for the first occurrence after an instant, unless it is set for it already.

        Args:
            known: what was seen; an alarm that somebody else set since is not overwritten.

        Raises:
            Overtaken: somebody else did.
            PublishFailed: the server does not answer.
        """
        following = spec.timing.next(after)
        if following is None or following.at == known.alarm:
            return
        headers = {
            _SCHEDULE: f"@at {following.at.isoformat().replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": f"schedules.due.{spec.id}",
            "Nats-TTL": "never",  # whatever age the stream is set to
            "Nats-Expected-Last-Subject-Sequence": str(known.alarm_place),
        }
        try:
            await self._bus.store(f"schedules.alarm.{spec.id}", b"", headers)
        except PublishFailed as error:
            if error.code in _WRONG_SEQUENCE:
                raise Overtaken(f"Another process set the alarm of {spec.id} at the same time.") from error
            raise

    async def forget(self, id: str) -> None:
        """Remove a schedule; an alarm that rang already finds nothing to do. Raises BusError."""
        try:
            for key in (f"declared.{id}", f"progress.{id}"):
                await self._bucket.delete(key)
        except NatsError as error:
            raise _silent(error) from error
        # Another message in its place takes the alarm away, and needs no permission that setting it does not need.
        await self._bus.store(f"schedules.alarm.{id}", b"", {"Nats-TTL": "1s"})

    async def _alarm(self, id: str) -> tuple[datetime | None, int]:
        try:
            msg = await self._bus.js.get_last_msg(STREAM, f"schedules.alarm.{id}")
        except NotFoundError:
            return None, 0
        except NatsError as error:
            raise _silent(error) from error
        when = (msg.headers or {}).get(_SCHEDULE, "").removeprefix("@at ")
        return (datetime.fromisoformat(when) if when else None), msg.seq or 0

    async def _get(self, key: str) -> tuple[bytes, int]:
        try:
            entry = await self._bucket.get(key)
        except KeyNotFoundError as error:
            return b"", error.entry.revision if error.entry else 0  # one that was deleted keeps its revision
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
    compared = [_change(spec, await schedules.look(spec.id)) for spec in specs]
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
    return [id for id in await schedules.ids(plugins) if id not in known]


def _change(spec: ScheduleSpec, known: Known) -> Change:
    label, now = f"schedule {spec.id}", known.now
    if known.declared is None:
        return Change("create", label, {})
    if differences := known.declared.differences(spec.declaration(now)):
        return Change("update", label, differences)
    if known.ahead:
        return Change("update", label, {"until": (known.progress.until, now)})
    following = known.following(spec.timing)
    if following is not None and known.alarm != following.at > now:
        return Change("update", label, {"alarm": (known.alarm, following.at)})
    return Change("none", label, {})


async def _declare(schedules: Schedules, spec: ScheduleSpec) -> Change:
    for _ in range(_TRIES):
        known = await schedules.look(spec.id)
        change, wanted = _change(spec, known), spec.declaration(known.now)
        after = known.progress.until
        try:
            if known.declared is None or known.declared.differences(wanted) or known.ahead:
                await schedules.declare(spec.id, wanted, known.declared_revision)
                after = wanted.since
            if known.ahead:
                progress = known.progress.model_copy(update={"until": known.now})
                await schedules.advance(spec.id, progress, known.progress_revision)
            await schedules.set_alarm(spec, known, after)
        except Overtaken as other:
            log.info("schedule.overtaken", schedule=spec.id, message=str(other))
        else:
            return change
    raise Overtaken(f"Other processes declare {spec.id} differently all the time; stop those of another version.")


def _silent(error: NatsError) -> ServerUnavailable:
    return ServerUnavailable(f"The bucket {BUCKET} or the stream {STREAM} does not answer ({type(error).__name__}).")
