"""What a plugin author writes: a :class:`Plugin`, its settings, and typed handlers.

::

    from stenobus_contracts import AsrDone, Event
    from stenobus_core import Context, Plugin

    class Counted(Event, subject="acme.counted"):
        words: int

    plugin = Plugin("acme-count", summary="Counts the words of a transcript")

    @plugin.handler()
    async def count(event: AsrDone, ctx: Context) -> Counted:
        return Counted(words=len((await ctx.read(event.transcript)).split()))
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args, get_type_hints

from pydantic import JsonValue

from stenobus_bus import ConsumerSpec, Occurrence, RateLimit, RetryPolicy, ScheduleRefused, ScheduleSpec
from stenobus_bus.schedules import CatchUp
from stenobus_bus.timing import At, Cron, Every, Timing
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Event

from .errors import PluginError
from .figures import Figure, checked
from .settings import PluginSettings
from .signature import HandlerFunction, is_contract, signature

#: Version of the plugin interface. A plugin made for another major version is reported, not loaded.
API_VERSION: Final = 1

#: Events of a lane per event of the plain subject, while both have events waiting.
LANE_WEIGHT: Final = 3

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
#: Short enough to be a part of a run's name.
_SCHEDULE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")

F = TypeVar("F", bound=HandlerFunction)
S = TypeVar("S", bound=PluginSettings)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``stenobus plugins doctor``."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Client:
    """A program of a plugin that handles no events, such as its HTTP interface: what its user on the server may do."""

    #: Buckets that it reads.
    reads: tuple[str, ...] = ()
    #: Bucket to the keys that it writes, wildcards allowed.
    writes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    publishes: tuple[type[Event], ...] = ()
    #: It repairs: what the operator may do, and end the deliveries of any event whose dead letter it has stored.
    repairs: bool = False


@dataclass(frozen=True)
class Handler:
    """A typed function and how the bus is to treat it."""

    plugin: str
    #: Durable name of its consumer; its place in history hangs on it.
    name: str
    function: HandlerFunction
    contract: type[Event]
    #: What it may publish: returned, or by ``ctx.publish``.
    outputs: tuple[type[Event], ...]
    #: What it may ask by ``ctx.request``.
    requests: tuple[type[Event], ...]
    concurrency: int
    fleet_concurrency: int | None
    #: Events of each of the contract's lanes per event of its plain subject, while both have events waiting.
    lanes: Mapping[str, int] = field(hash=False)
    #: Rate limit of its own, or the name of one that its plugin declares.
    rate: RateLimit | str | None
    timeout: float
    retry: RetryPolicy
    ledger: bool
    track: bool
    #: Its end belongs to the job: `stenobus process` waits for it, and fails when it fails.
    delivers: bool
    #: Takes nothing but the event and the context, so that nothing needs FastStream's dependency solver.
    plain: bool
    #: Name of the context's parameter, None when the function does not want it.
    context_parameter: str | None

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    @property
    def stream(self) -> str:
        """The stream its events are in."""
        return domain_stream(self.contract.subject)

    def consumer(self, ack_wait: float, lane: str | None = None) -> ConsumerSpec:
        """The durable consumer it needs for its subject, or for one of the lanes."""
        return ConsumerSpec(
            stream=self.stream,
            name=f"{self.name}_{lane}" if lane else self.name,
            subject=f"{self.contract.subject}.{lane}" if lane else self.contract.subject,
            ack_wait=ack_wait,
            max_deliver=max(100, 10 * self.retry.attempts),
            description=f"Stenobus plugin {self.plugin}",
        )

    def consumers(self, ack_wait: float) -> list[ConsumerSpec]:
        """All durable consumers it needs: one per lane, and that of the subject."""
        return [*(self.consumer(ack_wait, lane) for lane in self.lanes), self.consumer(ack_wait)]


class Plugin:
    """A service on the bus. Its entry point in the group ``stenobus.plugins`` points at the instance.

    Args:
        name: lower-case words joined by hyphens; also the name of the NATS service and of its settings.
        summary: one line for people.
        settings: class of its settings.
        version: of the plugin, as the NATS service shows it (semantic version).
        middlewares: FastStream middlewares around every handler of this plugin.
        buckets: key-value buckets of its own: name to the seconds a key is kept after its last change, 0 for ever.
        reads: keys of other buckets that its lifespan reads: bucket to keys.
        watches: its lifespan looks after the system by a connection of its own, and may see what an operator sees.
        publishes: contracts that its lifespan publishes.
        clients: programs beside it that have users of their own, by the names of these.
    """

    def __init__(
        self,
        name: str,
        *,
        summary: str = "",
        settings: type[PluginSettings] = PluginSettings,
        version: str = "0.1.0",
        middlewares: Sequence[Any] = (),
        buckets: Mapping[str, float] = MappingProxyType({}),
        reads: Mapping[str, Sequence[str]] = MappingProxyType({}),
        watches: bool = False,
        publishes: Sequence[type[Event]] = (),
        clients: Mapping[str, Client] = MappingProxyType({}),
        api_version: int = API_VERSION,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise PluginError(f"The plugin name {name!r} must be lower-case letters, digits and hyphens.")
        self.name, self.summary, self.version, self.api_version = name, summary, version, api_version
        self.settings_class = settings
        self.middlewares = tuple(middlewares)
        self.buckets, self.reads = dict(buckets), {bucket: tuple(keys) for bucket, keys in reads.items()}
        self.watches, self.publishes, self.clients = watches, tuple(publishes), dict(clients)
        self.handlers: list[Handler] = []
        self.schedules: list[ScheduleSpec] = []
        self._lifespan: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None
        self._doctor: Callable[[Any], list[Check]] | None = None
        self._limits: Callable[[Any], Mapping[str, RateLimit]] | None = None
        self._enabled: Callable[[Any], bool] | None = None
        self._facts: Callable[[Any], Mapping[str, JsonValue]] | None = None
        self._metrics: Callable[[Any], Iterable[Figure]] | None = None

    def handler(
        self,
        *,
        name: str | None = None,
        concurrency: int = 4,
        fleet_concurrency: int | None = None,
        lanes: Mapping[str, int] = MappingProxyType({}),
        rate: RateLimit | str | None = None,
        timeout: float = 300.0,
        attempts: int = 5,
        retry: RetryPolicy | None = None,
        ledger: bool = True,
        track: bool = True,
        delivers: bool = False,
        publishes: Sequence[type[Event]] = (),
        requests: Sequence[type[Event]] = (),
    ) -> Callable[[F], F]:
        """Declare a handler.

        The first parameter's annotation is the contract it listens to, the return annotation what it publishes.

        Args:
            name: durable name; the plugin's own name by default, so a second handler needs one.
            concurrency: events in hand at once, per process.
            fleet_concurrency: events in work at once over all processes; None for no such limit.
            lanes: how many events of a lane of the contract are begun per event of its plain subject, while both have
                events waiting; 3 when nothing is said.
            rate: attempts per time over all processes: a limit, or the name of one that ``@plugin.limits`` declares.
            timeout: seconds one attempt may take.
            attempts: attempts before the dead letter.
            retry: the whole policy, instead of ``attempts``.
            ledger: remember completed events beyond the server's window for duplicates. Switch it off only for a
                handler whose every effect may safely happen twice.
            track: show each event in the run record. Switch it off for handlers of thousands of events a second.
            delivers: a handler of finished documents whose work belongs to the job: `stenobus process` waits for it,
                and fails when it fails. Where it put things, it notes as ``outputs``: a mapping of kind to address.
            publishes: contracts it publishes by ``ctx.publish`` beside those it returns. What is declared nowhere is
                refused: the rights of the plugin's user on the server follow from the declarations.
            requests: contracts it asks by ``ctx.request``.

        Raises:
            PluginError: the function's types do not say what comes in, the name is taken, or a number is not above 0.
        """

        def declare(function: F) -> F:
            contract, outputs, plain, context_parameter = signature(self.name, function)
            durable = name or self.name
            if not _NAME.fullmatch(durable):
                raise PluginError(
                    f"{self.name}: the handler name {durable!r} must be lower-case letters, digits, hyphens."
                )
            policy = retry or RetryPolicy(attempts=attempts)
            if unknown := lanes.keys() - set(contract.lanes):
                raise PluginError(f"{self.name}: {contract.__name__} has no lane {', '.join(sorted(unknown))}.")
            numbers = {
                **{f"lanes[{lane!r}]": weight for lane, weight in lanes.items()},
                "concurrency": concurrency,
                "fleet_concurrency": fleet_concurrency,
                "attempts": policy.attempts,
                "timeout": timeout,
            }
            for what, number in numbers.items():
                if number is not None and number <= 0:
                    raise PluginError(
                        f"{self.name}: handler {function.__name__}: {what} must be above 0, not {number}."
                    )
            if any(handler.name == durable for handler in self.handlers):
                raise PluginError(f"{self.name}: two handlers are named {durable}; give one a name=… of its own.")
            self.handlers.append(
                Handler(
                    plugin=self.name,
                    name=durable,
                    function=function,
                    contract=contract,
                    outputs=tuple(dict.fromkeys((*outputs, *publishes))),
                    requests=tuple(requests),
                    concurrency=concurrency,
                    fleet_concurrency=fleet_concurrency,
                    lanes={lane: lanes.get(lane, LANE_WEIGHT) for lane in contract.lanes},
                    rate=rate,
                    timeout=timeout,
                    retry=policy,
                    ledger=ledger,
                    track=track,
                    delivers=delivers,
                    plain=plain and not self.middlewares,
                    context_parameter=context_parameter,
                )
            )
            return function

        return declare

    def schedule(
        self,
        name: str,
        *,
        event: Event | Callable[[Occurrence], Event],
        cron: str | None = None,
        timezone: str = "UTC",
        every: timedelta | None = None,
        at: datetime | None = None,
        catch_up: CatchUp = "once",
    ) -> None:
        """Declare an event that is published when it is time, once per occurrence over all processes of the plugin.

        Whoever handles the event's contract handles it: this plugin or another. Exactly one of ``cron``, ``every`` and
        ``at`` says when.

        Args:
            name: unique in the plugin, at most 40 characters; the operator knows it as ``plugin.name``.
            event: what is published, or a function that makes it for an occurrence; its return annotation names the
                contract.
            cron: six fields: second, minute, hour, day of the month, month, day of the week. A local time that the
                clock skips is due at the first instant after it; one that the clock shows twice is due once, at the
                first.
            timezone: IANA name of the zone whose wall clock ``cron`` follows.
            every: a whole number of seconds, at least one, counted from midnight UTC on 1 January 1970.
            at: once; a time with a zone.
            catch_up: what becomes of occurrences missed while no process of the plugin ran: ``once`` publishes the
                last of them, ``all`` each of them, ``skip`` none that is more than a minute late.

        Raises:
            PluginError: the time, the name or the event makes no sense.
        """
        where = f"{self.name}: schedule {name!r}"
        if not _SCHEDULE_NAME.fullmatch(name):
            raise PluginError(f"{where}: the name must be at most 40 lower-case letters, digits and hyphens.")
        if any(schedule.name == name for schedule in self.schedules):
            raise PluginError(f"{where} is declared twice.")
        if catch_up not in get_args(CatchUp):
            raise PluginError(f"{where}: catch_up must be one of {', '.join(get_args(CatchUp))}, not {catch_up!r}.")
        try:
            timing = _timing(where, cron, timezone, every, at)
        except ScheduleRefused as error:
            raise PluginError(f"{where}: {error}") from error
        fixed = event if isinstance(event, Event) else None
        contract = type(event) if isinstance(event, Event) else _made(where, event)
        make = (lambda _: event) if isinstance(event, Event) else event
        self.schedules.append(ScheduleSpec(self.name, name, timing, contract, make, fixed, catch_up))

    def lifespan(self, function: Callable[[S], AsyncIterator[Any]]) -> Callable[[S], AsyncIterator[Any]]:
        """Declare what is set up before the first event and torn down after the last; it yields ``ctx.state``."""
        self._lifespan = asynccontextmanager(function)
        return function

    @property
    def idle(self) -> bool:
        """Whether there is nothing that it would do."""
        return not (self.handlers or self.schedules or self._lifespan)

    def enabled(self, function: Callable[[S], bool]) -> Callable[[S], bool]:
        """Declare whether the settings call for the plugin at all. One that they do not call for is off."""
        self._enabled = function
        return function

    def doctor(self, function: Callable[[S], list[Check]]) -> Callable[[S], list[Check]]:
        """Declare the checks of ``stenobus plugins doctor``."""
        self._doctor = function
        return function

    def facts(self, function: Callable[[S], Mapping[str, JsonValue]]) -> Callable[[S], Mapping[str, JsonValue]]:
        """Declare what others may know before they send: limits, models, formats. They read it by ``ctx.facts``."""
        self._facts = function
        return function

    def limits(self, function: Callable[[S], Mapping[str, RateLimit]]) -> Callable[[S], Mapping[str, RateLimit]]:
        """Declare rate limits by name. All processes of the plugin share them; handlers use them by ``ctx.limit``."""
        self._limits = function
        return function

    def metrics(self, function: Callable[[Any], Iterable[Figure]]) -> Callable[[Any], Iterable[Figure]]:
        """Declare figures of one's own for ``/metrics``. Called at every scrape, with what the lifespan yielded."""
        self._metrics = function
        return function

    def known_figures(self, state: Any) -> list[Figure]:
        """The plugin's own figures, as they are now.

        Raises:
            PluginError: it has none of the shape that it declares.
        """
        return checked(self._metrics(state)) if self._metrics else []

    def known_limits(self, settings: PluginSettings) -> Mapping[str, RateLimit]:
        """The rate limits that the plugin declares."""
        return self._limits(settings) if self._limits else {}

    def known_facts(self, settings: PluginSettings) -> Mapping[str, JsonValue]:
        """What the plugin says about itself."""
        return self._facts(settings) if self._facts else {}

    @property
    def is_enabled(self) -> bool:
        """Whether the settings call for it. Raises SettingsError."""
        return self._enabled is None or self._enabled(self.load_settings())

    def load_settings(self) -> PluginSettings:
        """The settings as environment and file have them now."""
        return self.settings_class.load(self.name)

    @asynccontextmanager
    async def running(self, settings: PluginSettings) -> AsyncIterator[Any]:
        """The lifespan: yields the state."""
        if self._lifespan is None:
            yield None
            return
        async with self._lifespan(settings) as state:
            yield state

    def check(self) -> list[Check]:
        """Whether the plugin could run here."""
        settings = self.load_settings()
        return [Check("settings", True, "valid"), *(self._doctor(settings) if self._doctor else [])]


def _timing(where: str, cron: str | None, timezone: str, every: timedelta | None, at: datetime | None) -> Timing:
    if sum(given is not None for given in (cron, every, at)) != 1:
        raise PluginError(f"{where}: say when by exactly one of cron=…, every=… and at=….")
    if cron is not None:
        return Cron(cron, timezone)
    if timezone != "UTC":
        raise PluginError(f"{where}: timezone=… belongs to cron=…; every=… counts in UTC, and at=… brings its zone.")
    if every is not None:
        return Every(every)
    assert at is not None
    return At(at)


def _made(where: str, function: Callable[[Occurrence], Event]) -> type[Event]:
    """The contract that a function makes."""
    contract = get_type_hints(function).get("return") if inspect.isfunction(function) else None
    if not is_contract(contract):
        raise PluginError(f"{where}: event=… must be an event, or a function whose return annotation is its contract.")
    return contract
