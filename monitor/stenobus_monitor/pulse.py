"""The heartbeat: what the watchdog listens for, and what a dead man's switch elsewhere hears of.

It has no timer of its own. The watch's rounds give it, and only while the collectors that look regularly do look: a
loop that hangs, a look that never ends and a bus that takes nothing all end it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

import httpx2
import structlog
from pydantic import BaseModel, Field, JsonValue, SecretStr, ValidationError

log = structlog.get_logger(__name__)

KEY: Final = "beat"
#: Times its own rhythm that a collector may be late, and seconds beyond: a look at a busy bus takes its time.
_LATE, _SLACK = 3, 30.0
#: Seconds between two signs to the dead man's switch, and for one of them.
_MINUTE, _TIMEOUT = 60.0, 10.0


class Beat(BaseModel):
    """One heartbeat, under the key ``beat`` of the bucket."""

    at: datetime
    #: Seconds until the next one.
    every: float = Field(gt=0, le=3600)


def unwatched(beat: JsonValue, now: datetime) -> str | None:
    """What people have to know when nobody watches: a quiet list of incidents says nothing then.

    Args:
        beat: the latest one, as it lies in the bucket.
    """
    try:
        known = Beat.model_validate(beat)
    except ValidationError:
        return "Nobody is watching: no monitor runs here; `STENOBUS_MONITOR_ON=true stenobus up monitor` starts one."
    if now - known.at <= timedelta(seconds=_LATE * known.every + _SLACK):
        return None
    return f"Nobody is watching: the monitor was last heard at {known.at.astimezone():%Y-%m-%d %H:%M:%S %Z}."


class Keeps(Protocol):
    """What a heartbeat takes of a store."""

    async def put(self, key: str, value: JsonValue) -> None:
        """Keep a value. Raises ServerUnavailable."""
        ...


class Pulse:
    """Beats when it is time, as long as everything looks.

    Args:
        store: where beats go.
        every: seconds between two of them.
        rhythms: collectors that look regularly: name to the seconds between two looks.
        url: of the dead man's switch; it gets a POST a minute.
        clock: monotonic.
    """

    def __init__(
        self,
        store: Keeps,
        every: float,
        rhythms: Mapping[str, float],
        url: SecretStr | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._every, self._rhythms, self._url, self._clock = store, every, rhythms, url, clock
        now = clock()
        self._looked = dict.fromkeys(rhythms, now)
        self._beaten = self._signed = float("-inf")
        self._signing: asyncio.Task[bool] | None = None
        self._late: tuple[str, ...] = ()

    def looked(self, collector: str) -> None:
        """A collector saw something, or found that it cannot: either way it looked."""
        if collector in self._looked:
            self._looked[collector] = self._clock()

    async def beat(self, at: datetime) -> None:
        """A round is done. Raises ServerUnavailable when the bus does not take the beat."""
        now = self._clock()
        if now - self._beaten < self._every:
            return
        late = tuple(name for name, then in self._looked.items() if now - then > _LATE * self._rhythms[name] + _SLACK)
        if late != self._late:
            self._late = late
            log.error("monitor.no_heartbeat", late=late) if late else log.info("monitor.heartbeat")
        if late:
            return
        await self._store.put(KEY, Beat(at=at, every=self._every).model_dump(mode="json"))
        self._beaten = now
        if self._url is not None and now - self._signed >= _MINUTE:  # longer than a sign takes
            self._signed = now
            self._signing = asyncio.create_task(sign(self._url))

    async def stop(self) -> None:
        """Give no further sign."""
        if self._signing is not None:
            self._signing.cancel()
            await asyncio.gather(self._signing, return_exceptions=True)


async def sign(url: SecretStr) -> bool:
    """Tell the dead man's switch that all is well; whether it took it.

    Its address may be its secret: it is never logged, and no redirect takes it elsewhere. Its answer is not read.
    """
    try:
        async with (
            asyncio.timeout(_TIMEOUT),
            httpx2.AsyncClient(follow_redirects=False, timeout=_TIMEOUT) as client,
            client.stream("POST", url.get_secret_value()) as answer,
        ):
            trouble = None if answer.is_success else str(answer.status_code)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        trouble = type(error).__name__
    if trouble:
        log.warning("monitor.heartbeat_url", trouble=trouble)
    return trouble is None
