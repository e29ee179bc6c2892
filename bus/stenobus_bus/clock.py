"""The clock: publishes schedules' events when it is time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from nats.aio.msg import Msg

from . import settle
from .connection import Bus
from .envelope import Delivery, Envelope
from .errors import ScheduleRefused
from .pull import PullLoop
from .schedules import STREAM, Overtaken, Progress, Schedules, ScheduleSpec, consumer
from .settle import RetryPolicy
from .timing import Occurrence, latest
from .topology import apply

log = structlog.get_logger(__name__)

_PATIENCE: Final = RetryPolicy(base=1.0, cap=60.0)


async def fire(bus: Bus, spec: ScheduleSpec, occurrence: Occurrence, key: str | None = None) -> Envelope:
    """Publish the event of an occurrence; twice is once.

    Args:
        key: of the occurrence, when it is none of the schedule's own.

    Raises:
        ScheduleRefused: the schedule makes another event than it declares.
        PublishFailed: it was not stored.
    """
    event = spec.event(occurrence)
    if not isinstance(event, spec.contract):
        raise ScheduleRefused(
            f"The schedule {spec.id} made a {type(event).__name__}, not the {spec.contract.__name__} that it declares."
        )
    envelope = spec.envelope(event, key or occurrence.key, occurrence.at)
    await bus.publish(event, envelope)
    log.info("schedule.fired", schedule=spec.id, occurrence=key or occurrence.key, run=envelope.run)
    return envelope


class Clock:
    """Publishes the events of one plugin's schedules when it is time. Any number of processes may run one.

    Args:
        specs: the plugin's schedules, declared by :func:`schedules.apply`.
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
            ensure=lambda: apply(bus, [consumer(plugin, ack_wait)]),
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
        try:
            await self._fire(id)
        except Exception as error:  # the plugin's own function makes the event: anything can be raised
            delay = _PATIENCE.delay(delivery.count)
            log.error("schedule.failed", schedule=id, delay=round(delay, 2), error=f"{type(error).__name__}: {error}")
            await settle.later(self._bus.nc, msg.reply, delay)
        else:
            await settle.acknowledge(self._bus.nc, msg.reply)

    async def _fire(self, id: str) -> None:
        """Publish what is due, and set the alarm for what comes next."""
        schedules = await Schedules.open(self._bus)
        known = await schedules.look(id)
        if known.declared is None:
            return
        spec = self._specs.get(id)
        if spec is None or known.declared.differences(spec.declaration(known.now)):
            raise Overtaken(f"Another version of the plugin {self._plugin} declared it; its processes are to fire it.")
        progress, revision = known.progress, known.progress_revision
        for occurrence in spec.due(progress.until, known.now):
            envelope = await fire(self._bus, spec, occurrence)
            progress = Progress(until=occurrence.at, fired=occurrence.at, run=envelope.run)
            revision = await schedules.advance(id, progress, revision)
        if (skipped := latest(spec.timing, progress.until, known.now)) is not None:
            log.warning("schedule.skipped", schedule=id, until=skipped.key)
            progress = progress.model_copy(update={"until": skipped.at})
            await schedules.advance(id, progress, revision)
        await schedules.set_alarm(spec, known, progress.until)

    async def _hand_back(self, msg: Msg, delivery: Delivery) -> None:
        await settle.later(self._bus.nc, msg.reply, 0.0)
