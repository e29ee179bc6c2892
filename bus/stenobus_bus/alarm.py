"""Says once when a handler's rate of dead letters rises, and once when it has calmed down.

All it knows it reads from the streams: how many letters came, and which alerts were published. So neither restarts nor
other processes that do the same matter. Of several that see the same, the server takes one's word: an alert is refused
when another one was published since its author looked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from pydantic import ValidationError

from stenobus_contracts import BusAlert

from . import dead_letters
from .connection import ApiError, Bus
from .envelope import MSG_ID, Envelope, derived_id
from .errors import AccessDenied, BusError, PublishFailed
from .history import Ahead, ahead, read
from .topology import domain_stream

log = structlog.get_logger(__name__)

_STREAM: Final = domain_stream(BusAlert.subject)
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_MESSAGE_NOT_FOUND: Final = 10037
#: Looks per window, and the seconds between two looks at least and at most.
_LOOKS, _SOONEST, _LATEST = 10, 0.5, 30.0


@dataclass(frozen=True, slots=True)
class _Rate:
    """Dead letters of one handler in the window that ends now."""

    count: int
    previous: int
    reason: str | None
    first_at: datetime | None


class Alarm:
    """Watches all handlers' dead letters.

    Args:
        threshold: dead letters of one handler in one window from which on an alert opens.
        window: seconds.
    """

    def __init__(self, bus: Bus, threshold: int, window: float) -> None:
        self._bus, self._threshold, self._window = bus, threshold, timedelta(seconds=window)
        self._interval = min(max(window / _LOOKS, _SOONEST), _LATEST)
        self._task: asyncio.Task[None] | None = None
        #: The latest alert of each handler, and in which window its latest one opened.
        self._latest: dict[str, BusAlert] = {}
        self._opened: dict[str, int] = {}
        self._seen = 0  # alerts up to this sequence are in there

    async def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self, now: datetime | None = None) -> list[BusAlert]:
        """Publish what is due.

        Args:
            now: the server's time by default.

        Returns:
            Alerts that this call published.

        Raises:
            BusError: the streams do not answer.
        """
        now = now or await self._time()
        last = await self._catch_up()
        if last is None:
            return []
        published = []
        for handler, rate in (await self._rates(now)).items():
            if alert := self._due(handler, rate, now):
                try:
                    last = await self._publish(alert, now, last)
                except PublishFailed as error:
                    log.info("alarm.not_published", handler=handler, error=str(error))
                    break  # somebody else was faster: look again, at what is there then
                published.append(alert)
        return published

    def _due(self, handler: str, rate: _Rate, now: datetime) -> BusAlert | None:
        """The alert that is due for a handler."""
        latest = self._latest.get(handler)
        is_open = latest is not None and latest.status == "open"
        if latest and is_open and rate.count * 2 <= self._threshold:
            return self._alert(handler, rate, latest.alert_id, resolved=True)
        if rate.count < self._threshold or self._opened.get(handler) == self._index(now):
            return None
        if latest and is_open:
            return self._alert(handler, rate, latest.alert_id) if rate.count >= 2 * latest.count else None
        return self._alert(handler, rate, derived_id("alert", handler, self._window, self._index(now)))

    def _alert(self, handler: str, rate: _Rate, alert_id: str, *, resolved: bool = False) -> BusAlert:
        return BusAlert(
            alert_id=alert_id,
            kind="dead_letters",
            status="resolved" if resolved else "open",
            handler=handler,
            reason=rate.reason,
            count=rate.count,
            previous_count=rate.previous,
            threshold=self._threshold,
            window_seconds=self._window.total_seconds(),
            first_at=rate.first_at,
        )

    async def _publish(self, alert: BusAlert, now: datetime, last: int) -> int:
        """Publish an alert, unless there is one after ``last``. Returns its sequence."""
        event_id = derived_id(alert.alert_id, alert.status, self._index(now))
        envelope = Envelope.new(alert, "stenobus/bus", run=alert.alert_id, id=event_id)
        stored = await self._bus.publish(alert, envelope, headers={MSG_ID: event_id, _EXPECTED: str(last)})
        log.warning("alarm.alert", handler=alert.handler, status=alert.status, count=alert.count, reason=alert.reason)
        return stored.sequence

    # --- what the streams say ----------------------------------------------------------------------------------------

    async def _catch_up(self) -> int | None:
        """Read the alerts published since the last look.

        Returns:
            The sequence of the last one, None when it cannot be read yet.
        """
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{_STREAM}", {"last_by_subj": BusAlert.subject})
            last = int(answer["message"]["seq"])
        except ApiError as error:
            if error.err_code != _MESSAGE_NOT_FOUND:
                raise
            last = 0
        if last > self._seen:
            async for message in read(self._bus, _STREAM, BusAlert.subject, from_sequence=self._seen + 1):
                self._seen = message.sequence
                try:
                    alert = BusAlert.model_validate_json(message.data)
                except ValidationError:
                    continue  # anybody can publish there
                self._latest[alert.handler] = alert
                if alert.status == "open":
                    self._opened[alert.handler] = self._index(message.time)
        return last if self._seen >= last else None

    async def _rates(self, now: datetime) -> dict[str, _Rate]:
        """How many letters came, for each handler an alert may be due for."""
        watched = {handler for handler, alert in self._latest.items() if alert.status == "open"}
        enough = (await self._since(now - self._window, "dlq.*.*")).count >= self._threshold
        subjects: dict[str, list[str]] = {handler: [] for handler in watched}
        for handler, reason in await dead_letters.counts(self._bus) if watched or enough else ():
            if enough or handler in watched:
                subjects.setdefault(handler, []).append(reason)
        return {handler: await self._rate(handler, reasons, now) for handler, reasons in sorted(subjects.items())}

    async def _rate(self, handler: str, reasons: list[str], now: datetime) -> _Rate:
        recent = {each: await self._since(now - self._window, f"dlq.{handler}.{each}") for each in reasons}
        both = [await self._since(now - 2 * self._window, f"dlq.{handler}.{each}") for each in reasons]
        count = sum(each.count for each in recent.values())
        return _Rate(
            count,
            previous=sum(each.count for each in both) - count,
            reason=max(reasons, key=lambda each: recent[each].count) if count else None,
            first_at=min((each.first.time for each in recent.values() if each.first), default=None),
        )

    async def _since(self, begin: datetime, subject: str) -> Ahead:
        return await ahead(self._bus, dead_letters.STREAM, subject, since=begin)

    async def _time(self) -> datetime:
        """The server's time, which is that of the letters."""
        return datetime.fromisoformat((await self._bus.api(f"STREAM.INFO.{dead_letters.STREAM}"))["ts"]).astimezone(UTC)

    def _index(self, time: datetime) -> int:
        """Which window a time lies in, when one follows the other."""
        return int(time.timestamp() // self._window.total_seconds())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.look()
            except AccessDenied:  # a plugin's own user may not read dead letters; another process does it
                log.info("alarm.off", reason="this user may not read other handlers' dead letters")
                return
            except BusError as trouble:
                log.warning("alarm.bus_trouble", error=str(trouble))
