"""The plugin ``watchdog``: notices from another process when the monitor is silent; tells people without the bus."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from pydantic import Field, ValidationError

from stenobus_contracts import MonitorAlert
from stenobus_core import Check, PermanentError, Plugin, RetryableError
from stenobus_core.session import connect
from stenobus_core.settings import CoreSettings, PluginSettings

from .channels import Channel, sender
from .pulse import KEY, Beat
from .settings import Settings as MonitorSettings
from .store import BUCKET
from .vigil import Notice, Trouble, Vigil

log = structlog.get_logger(__name__)

#: Seconds between two looks, and for one of them.
_PAUSE, _TIMEOUT = 0.5, 2.0
#: Times a channel is tried, seconds after the first of them, and the most that is waited.
_ATTEMPTS, _AGAIN, _LONGEST = 12, 5.0, 600.0
#: Notices that wait for one channel.
_WAITING: Final = 100
_SAYS: Final[dict[tuple[Trouble, str], str]] = {
    ("monitor.silent", "open"): "The monitor is silent",
    ("monitor.silent", "resolved"): "The monitor is back",
    ("bus.unreachable", "open"): "The bus does not answer the watchdog",
    ("bus.unreachable", "resolved"): "The bus answers the watchdog again",
}
_ADVICE: Final[dict[Trouble, str]] = {
    "monitor.silent": "Nobody watches now. See whether its process runs, and what its log says last.",
    "bus.unreachable": "Nothing moves without it. See whether nats-server runs, and what its log says last.",
}


class Settings(PluginSettings):
    """Whether somebody listens for the monitor's heartbeat. Channels are those of ``[monitor]``."""

    on: bool = Field(default=False, description="tell people when the monitor or the server is silent")


# Not named monitor-…: `stenobus up monitor` would run it in the very process that it is to watch.
plugin = Plugin(
    "watchdog",
    summary="Notices when the monitor itself is silent, and tells people without the bus",
    settings=Settings,
    reads={BUCKET: (KEY,)},
)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Only where somebody asks for it."""
    return settings.on


@plugin.lifespan
async def listening(settings: Settings) -> AsyncIterator[None]:
    """Listen from the first moment to the last, by a connection of its own."""
    channels = MonitorSettings.load("monitor").channels
    async with AsyncExitStack() as resources:
        session = await resources.enter_async_context(connect(CoreSettings.load("core"), name="stenobus watchdog"))
        town = Criers(channels)
        resources.push_async_callback(town.stop)
        listening = asyncio.create_task(listen(session.bus.nc, town))
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whom it would tell."""
    names = ", ".join(channel.name for channel in MonitorSettings.load("monitor").channels)
    return [Check("channels", True, names or "standard output alone: [[monitor.channels]] names others")]


async def listen(nc: Client, town: Criers) -> None:
    """Look for beats for ever."""
    vigil = Vigil(_PAUSE + _TIMEOUT, time.monotonic())
    while True:
        try:
            place, every = await latest(nc)
            notices = vigil.answered(place, every, time.monotonic())
        except (NatsError, OSError, TimeoutError) as error:
            log.debug("watchdog.unanswered", error=type(error).__name__)
            notices = vigil.unanswered(time.monotonic())
        for notice in notices:
            town.cry(notice)
        await asyncio.sleep(_PAUSE)


async def latest(nc: Client) -> tuple[int | None, float | None]:
    """Where the latest beat lies in the bucket's stream, and the seconds until the next; None where there is none.

    Raises:
        NatsError, OSError, TimeoutError: the server does not answer.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            found = await nc.request(f"$JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{KEY}", b"", timeout=_TIMEOUT)
    except NoRespondersError:  # no such bucket yet
        return None, None
    place = (found.headers or {}).get("Nats-Sequence")
    try:
        return (int(place), Beat.model_validate_json(found.data).every) if place else (None, None)
    except (ValueError, ValidationError):  # whoever may write there wrote something else: that is no beat
        return None, None


class Criers:
    """Tell people: standard output at once, and each channel for as long as it takes, one notice after the other."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._ids: dict[Trouble, str] = {}
        self._queues = [(channel, asyncio.Queue[MonitorAlert](_WAITING)) for channel in channels]
        self._tasks = [asyncio.create_task(self._deliver(channel, queue)) for channel, queue in self._queues]

    def cry(self, notice: Notice) -> None:
        """Tell something that nobody was told yet."""
        told = self._alert(notice)
        head = "RESOLVED" if notice.status == "resolved" else "CRITICAL"
        print(f"{head} {told.incident_id} {told.title}: {told.text}", flush=True)
        for channel, queue in self._queues:
            if channel.takes(told.severity, notice.kind) and not queue.full():
                queue.put_nowait(told)

    async def stop(self) -> None:
        """Tell nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _alert(self, notice: Notice) -> MonitorAlert:
        known = self._ids.pop(notice.kind, None) or f"watchdog-{uuid.uuid4().hex[:12]}"
        if notice.status == "open":
            self._ids[notice.kind] = known
            text = f"not a sign for {notice.lasted:.0f} s. {_ADVICE[notice.kind]}"
        else:
            text = f"after {notice.lasted:.0f} s."
        return MonitorAlert(
            channel="",
            incident_id=known,
            severity="critical",
            status=notice.status,
            title=_SAYS[notice.kind, notice.status],
            text=text,
        )

    async def _deliver(self, channel: Channel, queue: asyncio.Queue[MonitorAlert]) -> None:
        while True:
            told = (await queue.get()).model_copy(update={"channel": channel.name})
            parts = 0

            async def delivered(number: int) -> None:
                nonlocal parts
                parts = number

            for attempt in range(_ATTEMPTS):
                try:
                    await sender(channel).send(told, parts, delivered)
                    break
                except RetryableError as error:
                    log.warning("watchdog.not_delivered", channel=channel.name, error=str(error))
                    await asyncio.sleep(min(_LONGEST, error.delay or _AGAIN * 2**attempt))
                except PermanentError as error:
                    log.error("watchdog.refused", channel=channel.name, error=str(error))
                    break
            else:
                log.error("watchdog.given_up", channel=channel.name, incident=told.incident_id)
