"""What collectors see: facts with a time, and nothing concluded from them yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from stenobus_core.runs import Step

from .containers import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something that was seen."""

    #: When it happened, or when somebody looked.
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSeen(Observation):
    """A container as it is now."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStarted(Observation):
    """A container began."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSignalled(Observation):
    """Somebody sent a container a signal through the engine: to stop, restart or kill it."""

    name: str
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOutOfMemory(Observation):
    """The kernel killed a process in a container for want of memory. That need not be its first one."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDied(Observation):
    """A container's first process ended."""

    container: Container
    exit_code: int
    #: Its last lines, as it wrote them.
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerHealth(Observation):
    """The verdict of a container's health check changed."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerGone(Observation):
    """A container was removed."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSeen(Observation):
    """A handler: what waits for it on the server, and what its processes say."""

    handler: str
    stream: str
    plugin: str
    #: Events that were never delivered, and those that were delivered and not settled.
    pending: int
    unsettled: int
    redelivered: int
    #: Unsettled events from which on the server delivers no more; 0 for any number.
    unsettled_limit: int
    #: Subjects it listens to.
    subjects: tuple[str, ...]
    #: Requests for events that are open; 0 means that nobody asks for work.
    waiting: int
    paused: bool
    #: It is the monitor's own pause.
    ours: bool = False
    #: Sequence up to which everything is settled.
    floor: int
    #: Age of the oldest event that is not settled, in seconds; None when nobody told.
    oldest: float | None
    #: Processes that answer, events they have in hand, and events they could have.
    processes: int
    in_hand: int
    slots: int
    #: Attempts that ended since the processes began: well, and badly.
    handled: int
    failures: int
    #: Events that the processes say they asked for, and those that they are about to ask for; None when not all say so.
    asked: int | None = None
    room: int | None = None
    #: The first question that no process of it answered; None while one answers, or when nobody told.
    silent_since: datetime | None = None

    @property
    def stands(self) -> bool:
        """Events wait, and at this moment nobody has one in hand, or the server delivers no more."""
        if self.paused or not (self.pending or self.unsettled):
            return False
        return not self.processes or self.full or bool(self.pending and not self.in_hand)

    @property
    def full(self) -> bool:
        """The server delivers no more until some are settled."""
        return 0 < self.unsettled_limit <= self.unsettled


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen(Observation):
    """How full a stream or bucket is; a limit of 0 is none."""

    stream: str
    messages: int
    bytes: int
    max_messages: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSeen(Observation):
    """An event became a dead letter."""

    handler: str
    reason: str
    event_id: str
    run: str
    attempts: int
    #: Class of the last error, and what it said.
    error: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LettersRising(Observation):
    """The bus itself says that a handler's rate of dead letters rose, or calmed down."""

    handler: str
    resolved: bool
    count: int
    previous: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised(Observation):
    """The server said something of a stream or consumer by an advisory, which it says once."""

    #: ``stream_action.delete``, ``consumer_action.delete``, ``max_deliver``, …
    kind: str
    stream: str
    consumer: str
    #: Place of the event it is about, 0 for none.
    sequence: int
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSeen(Observation):
    """What another clock says."""

    source: str
    #: How far it is ahead of ours, negative when behind; known to half of the time that asking took.
    ahead: timedelta
    known_to: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSeen(Observation):
    """Room on a disk, in bytes."""

    path: str
    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeen(Observation):
    """A step of a run changed."""

    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsRead(Observation):
    """All that the run record held at that time has been told: what was at work then is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStored(Observation):
    """An event was stored, at the server's time ``at``."""

    subject: str
    run: str
    event_id: str
    #: Who published it, and what time it had then; None when it did not say.
    source: str
    said: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobChecked(Observation):
    """Content was read and compared with what an event says of it."""

    uri: str
    run: str
    #: Subject of the event that refers to it.
    subject: str
    #: What is wrong with it, None when nothing is.
    trouble: str | None
    #: It is not there at all.
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage(Observation):
    """What a container uses."""

    name: str
    #: Bytes without what the kernel could give back at once; the limit is 0 where there is none.
    memory: int
    memory_limit: int
    #: Cores in use since the look before; None at the first one.
    cores: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLines:
    """Lines of one kind in a container's log."""

    #: The words they share; what varies is replaced by its type.
    template: str
    count: int
    #: error, warning or empty.
    level: str
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen(Observation):
    """What a container wrote since the look before, sorted."""

    name: str
    lines: tuple[LogLines, ...]
    #: Lines that were left out: too many of them came at once.
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeen(Observation):
    """A value of a query that somebody watches."""

    query: str
    labels: str
    value: float
    above: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorState(Observation):
    """A collector works, or cannot see what it should."""

    collector: str
    #: Why it is blind; None when it sees.
    trouble: str | None
