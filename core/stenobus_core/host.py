"""The plugin host: runs plugins' handlers on the bus until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import structlog

from stenobus_bus import (
    AccessDenied,
    Bus,
    Change,
    Delivery,
    Envelope,
    Observer,
    Observers,
    RateLimit,
    Received,
    ScheduleSpec,
    TokenBucket,
    Worker,
    apply,
    plan,
    schedules,
)
from stenobus_bus.advisories import Undertaker
from stenobus_bus.alarm import Alarm
from stenobus_bus.clock import Clock
from stenobus_bus.schedules import consumer
from stenobus_bus.topology import Spec, handler_of, key_value
from stenobus_contracts import Event, Reason

from .context import Context
from .errors import PluginError, StenobusError
from .mirror import Mirror
from .plugin import Handler, Plugin
from .service import register
from .services import Services, topology
from .settings import CoreSettings, PluginSettings
from .streaming import Call, Streaming, direct
from .timetable import is_off, timetable
from .tracking import RunTracker, Tracker

log = structlog.get_logger(__name__)


class Host:
    """Runs plugins.

    Args:
        bus: the connection; whoever opened it closes it.
        plugins: what to run.
        observe: makes a further observer for each handler, such as one that records traces.
    """

    def __init__(
        self,
        settings: CoreSettings,
        bus: Bus,
        plugins: Sequence[Plugin],
        *,
        observe: Callable[[Handler], Observer] | None = None,
    ) -> None:
        self.settings, self.bus, self.plugins = settings, bus, list(plugins)
        self._observe = observe
        self.workers: dict[str, Worker[Any]] = {}
        self.clocks: dict[str, Clock] = {}
        #: What the lifespan of each plugin that runs yielded.
        self.states: dict[str, Any] = {}
        self._mirrors: list[Mirror] = []
        #: Plugins that could not start, and why.
        self.failed: dict[str, str] = {}
        self._started = False
        self._resources = AsyncExitStack()
        self._streaming: Streaming | None = None

    def topology(self) -> list[Spec]:
        """Every stream, bucket and consumer these plugins need."""
        return needs(self.settings, self.plugins)

    @property
    def handlers(self) -> list[Handler]:
        """All handlers of all plugins."""
        return [handler for plugin in self.plugins for handler in plugin.handlers]

    @property
    def schedules(self) -> list[ScheduleSpec]:
        """All schedules of all plugins, without those that the settings switch off."""
        every = timetable(self.settings, self.plugins)
        return [schedule for schedule in every if not is_off(self.settings, schedule)]

    async def plan(self) -> list[Change]:
        """What :meth:`declare` would change."""
        names = [plugin.name for plugin in self.plugins]
        return [*await plan(self.bus, self.topology()), *await schedules.plan(self.bus, self.schedules, names)]

    async def declare(self) -> list[Change]:
        """Make the server match what these plugins need: streams, buckets, consumers and schedules.

        Returns:
            What was done.

        Raises:
            BusError: the server is unreachable or refuses a declaration.
        """
        names = [plugin.name for plugin in self.plugins]
        return [*await apply(self.bus, self.topology()), *await schedules.apply(self.bus, self.schedules, names)]

    async def start(self) -> None:
        """Declare streams and consumers, open the plugins' resources, begin to handle events.

        A plugin that cannot start is named in :attr:`failed` and stops nothing else.

        Raises:
            BusError: the server is unreachable or refuses a declaration.
            PluginError: two plugins claim one handler name, no plugin could start, or a run store cannot be used.
        """
        names = [handler.name for handler in self.handlers]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PluginError(f"Two plugins claim the handler name {', '.join(sorted(twice))}; switch one off.")
        try:
            await self.declare()
            services = await Services.open(self.settings, self.bus)
            self._resources.push_async_callback(services.close)
            await self._copy_runs(services)
            for plugin in self.plugins:
                try:
                    await self._start(plugin, services)
                except StenobusError as error:
                    self.failed[plugin.name] = str(error)
                    log.error("plugin.failed", plugin=plugin.name, error=str(error))
            if self.failed and not self._running:
                raise PluginError(next(iter(self.failed.values())))
            await self._bury_the_abandoned(services)
            await self._watch_dead_letters()
            self._started = True
        except BaseException:
            await self.stop(grace=0)
            raise

    async def stop(self, grace: float | None = None) -> None:
        """Fetch no more, finish or hand back what is in hand, release resources.

        Args:
            grace: seconds running handlers get; the setting by default.
        """
        seconds = self.settings.grace if grace is None else grace
        self._started = False
        await asyncio.gather(*(part.stop(seconds) for part in self._running))
        self.clocks.clear()
        self.workers.clear()
        self.states.clear()
        await asyncio.gather(*(mirror.stop(seconds) for mirror in self._mirrors))
        self._mirrors.clear()
        await self._resources.aclose()

    @property
    def ready(self) -> bool:
        """Connected, every consumer exists and its loop hears from the server."""
        healthy = self._started and all(part.healthy for part in self._running)
        return self.bus.nc.is_connected and not self.failed and healthy

    @property
    def _running(self) -> list[Clock | Worker[Any]]:
        return [*self.clocks.values(), *self.workers.values()]

    async def _start(self, plugin: Plugin, services: Services) -> None:
        settings = plugin.load_settings()
        try:
            state = await self._resources.enter_async_context(plugin.running(settings))
        except Exception as error:
            raise PluginError(f"The plugin {plugin.name} cannot start: {error}") from error
        workers = {}
        limits = {
            name: TokenBucket(self.bus, f"{plugin.name}.{name}", limit)
            for name, limit in plugin.known_limits(settings).items()
        }
        facts = plugin.known_facts(settings)
        for handler in plugin.handlers:
            if facts and not self.settings.shadow:  # who is only tried out speaks for nobody
                await services.facts.put(handler.contract, facts)
            worker = self._worker(handler, services, settings, state, limits)
            workers[handler.name] = self.workers[handler.name] = worker  # a start that fails halfway is stopped, too
            await worker.start()
        if own := [schedule for schedule in self.schedules if schedule.plugin == plugin.name]:
            self.clocks[plugin.name] = Clock(self.bus, plugin.name, own, self.settings.ack_wait)
            await self.clocks[plugin.name].start()
        self._resources.push_async_callback(await register(self.bus.nc, plugin, workers))
        self.states[plugin.name] = state
        log.info("plugin.started", plugin=plugin.name, version=plugin.version, handlers=list(workers))

    async def _copy_runs(self, services: Services) -> None:
        """Share in copying the run record to where it outlives the bus."""
        for name, store in services.copies.items():
            mirror = Mirror(self.bus, name, store)
            try:
                await mirror.start()
            except AccessDenied:  # a plugin's own user may not read the steps of others; another process does it
                log.info("mirror.off", store=name, reason="this user may not read the run record")
            else:
                self._mirrors.append(mirror)

    async def _bury_the_abandoned(self, services: Services) -> None:
        """Share in the undertaker's work: any process will do, and those of the handler may all be dead."""

        async def buried(envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
            await RunTracker(services.runs, handler_of(delivery.consumer)).buried(envelope, delivery, reason, error)

        undertaker = Undertaker(self.bus, buried)
        self._resources.push_async_callback(undertaker.stop)
        try:
            await undertaker.start()
        except AccessDenied:  # a plugin's own user may not touch the events of others; another process does it
            log.info("undertaker.off", reason="this user may not bury other handlers' events")

    async def _watch_dead_letters(self) -> None:
        """Share in the watch over their rate."""
        if self.settings.alert_threshold:
            alarm = Alarm(self.bus, self.settings.alert_threshold, self.settings.alert_window)
            self._resources.push_async_callback(alarm.stop)
            await alarm.start()

    def _worker(
        self,
        handler: Handler,
        services: Services,
        settings: PluginSettings,
        state: Any,
        limits: Mapping[str, TokenBucket],
    ) -> Worker[Any]:
        tracker = RunTracker(services.runs, handler.name) if handler.track else Tracker()
        call, ack_wait = self._call(handler), self.settings.ack_wait

        async def handle(received: Received[Any]) -> Sequence[Event]:
            received.envelope.shadow = received.envelope.shadow or self.settings.shadow
            track = tracker.track(received)
            ctx = Context(
                handler.name,
                received,
                services,
                track,
                settings,
                state,
                limits,
                handler.outputs,
                handler.requests,
                handler.plugin,
            )
            return await call(received, ctx)

        return Worker(
            self.bus,
            handler.consumer(ack_wait),
            handler.contract,
            handle,
            concurrency=handler.concurrency,
            fleet_concurrency=handler.fleet_concurrency,
            lanes=[(handler.consumer(ack_wait, lane), weight) for lane, weight in handler.lanes.items()],
            rate=self._rate(handler, limits),
            timeout=handler.timeout,
            retry=handler.retry,
            ledger=handler.ledger,
            observer=Observers(tracker, self._observe(handler)) if self._observe else tracker,
        )

    def _rate(self, handler: Handler, limits: Mapping[str, TokenBucket]) -> TokenBucket | None:
        if isinstance(handler.rate, RateLimit):
            return TokenBucket(self.bus, handler.name, handler.rate)
        if handler.rate is not None and handler.rate not in limits:
            raise PluginError(f"{handler.plugin}: handler {handler.name}: there is no limit {handler.rate!r}.")
        return limits[handler.rate] if handler.rate else None

    def _call(self, handler: Handler) -> Call:
        if handler.plain:
            return direct(handler)
        if self._streaming is None:
            self._streaming = Streaming(self.plugins)
        return self._streaming.call(handler)


def needs(settings: CoreSettings, plugins: Sequence[Plugin]) -> list[Spec]:
    """Every stream, bucket and consumer that plugins need."""
    handlers = [handler for plugin in plugins for handler in plugin.handlers]
    consumers = [spec for handler in handlers for spec in handler.consumers(settings.ack_wait)]
    clocks = [consumer(plugin.name, settings.ack_wait) for plugin in plugins if plugin.schedules]
    own = [
        replace(key_value(name, ttl=ttl), replicas=settings.replicas)
        for plugin in plugins
        for name, ttl in plugin.buckets.items()
    ]
    return [*topology(settings.bucket, settings.replicas), *own, *consumers, *clocks]
