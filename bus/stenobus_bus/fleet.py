"""At most so many events of a handler in work over all processes: the slots are shared out, and leased.

Each process renews its entry in one record. As long as processes come and go rarely, so do slots: an event costs
nothing beside what it costs anyway. No clock is compared with another one: everybody measures by a clock of its own how
long an entry has not been renewed.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from .cell import Cell, Value
from .connection import Bus
from .errors import BusError, ServerUnavailable

log = structlog.get_logger(__name__)

#: Part of the lease after which a process no longer trusts it: the others count from a moment later.
_TRUST: Final = 0.9


class Fleet:
    """One process's slots of a handler.

    Args:
        limit: events in work at once over all processes.
        wants: events this process would take at once.
        lease: seconds of silence after which the others take a process's slots. Work that blocks the event loop for
            longer loses them while it goes on.
        used: how many events of this process are in work or asked for.
        changed: called when there are more slots than before.
    """

    def __init__(
        self,
        bus: Bus,
        handler: str,
        *,
        limit: int,
        wants: int,
        lease: float,
        used: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._nc = bus.nc
        self._cell = Cell(bus, f"fleet.{handler}", sound=_sound)
        self._handler, self._limit, self._wants, self._lease = handler, limit, wants, lease
        self._used, self._changed = used, changed
        self._id = uuid.uuid4().hex[:12]
        self._slots = 0  # as the record says
        self._target = 0  # our share
        self._trusted = 0.0  # until when the slots are ours
        #: Others' entries: the renewal that was seen, and when it was seen first.
        self._seen: dict[str, tuple[int, float]] = {}
        self._look = asyncio.Event()
        self._closing = False
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Join the fleet and keep the lease.

        Raises:
            ServerUnavailable: the bucket is missing or does not answer.
        """
        # The bucket's writes are plain messages too: slots that become free are taken at once.
        self._subscription = await self._nc.subscribe(self._cell.subject, cb=self._hear)
        await self._renew()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Give the slots back, for others to take at once."""
        if self._keeper is None:
            return
        self._closing = (
            True  # a cancellation that comes together with an answer gets lost in asyncio.wait_for (bpo-37658)
        )
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        self._slots = 0
        with suppress(NatsError, BusError):  # the lease ends by itself
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            await self._cell.change(self._leave)

    @property
    def healthy(self) -> bool:
        """The lease is being renewed."""
        return asyncio.get_running_loop().time() < self._trusted

    @property
    def slots(self) -> int:
        """Events this process may have in work now."""
        return self._slots if self.healthy else 0

    @property
    def share(self) -> int:
        """Events it may have in work or ask for: slots beyond its share go to others once they are not used."""
        if self._slots > self._target and self._used() < self._slots:
            self._look.set()
        return min(self.slots, self._target)

    async def _keep(self) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._renew()
            except ServerUnavailable as error:
                log.warning("fleet.not_renewed", handler=self._handler, error=str(error))

    def _pause(self) -> float:
        """Seconds until our own entry has to be renewed, or until another one is dead."""
        now = asyncio.get_running_loop().time()
        ends = [seen + self._lease - now for name, (_, seen) in self._seen.items() if name != self._id]
        return max(0.01, min([self._lease / 3, *ends]))

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        begun, had = loop.time(), self._slots
        slots = await self._cell.change(self._take)
        late = loop.time() >= self._trusted
        if late and slots < had:
            log.warning("fleet.lease_lost", handler=self._handler, lost=had - slots)
        self._slots, self._trusted = slots, begun + _TRUST * self._lease
        if late or slots > had:
            self._changed()

    def _take(self, record: Value) -> tuple[Value, int]:
        """Renew our entry, drop those that are dead, take or give back slots up to our share."""
        self._look_at(record)
        now = asyncio.get_running_loop().time()
        members: dict[str, Any] = {
            name: entry for name, entry in record.items() if name == self._id or now < self._seen[name][1] + self._lease
        }
        mine = members.setdefault(self._id, {"slots": 0, "wants": self._wants, "beat": 0})
        # Before it is written: what we are about to give back must not be used meanwhile.
        self._target = self._share(members)
        others = sum(entry["slots"] for name, entry in members.items() if name != self._id)
        slots = mine["slots"]
        if slots < self._target:
            slots = max(slots, min(self._target, self._limit - others))
        else:
            slots = min(slots, max(self._target, self._used()))
        members[self._id] = {"slots": slots, "wants": self._wants, "beat": mine["beat"] + 1}
        return members, slots

    def _leave(self, record: Value) -> tuple[Value, None]:
        return {name: entry for name, entry in record.items() if name != self._id}, None

    def _look_at(self, record: Value) -> None:
        """Note which entries have been renewed, and since when the others have not."""
        now = asyncio.get_running_loop().time()
        seen = self._seen
        self._seen = {
            name: seen[name] if name in seen and seen[name][0] == entry["beat"] else (entry["beat"], now)
            for name, entry in record.items()
        }

    def _share(self, members: Value) -> int:
        return shares(self._limit, {name: entry["wants"] for name, entry in members.items()})[self._id]

    async def _hear(self, msg: Msg) -> None:
        """The record changed: act at once when there is something to take or to give back."""
        try:
            record = json.loads(msg.data)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not _sound(record):
            self._look.set()  # somebody removed or broke it: the renewal makes it anew, or says so
            return
        self._look_at(record)
        if self._id not in record:
            self._look.set()
            return
        share, slots = self._share(record), record[self._id]["slots"]
        free = self._limit - sum(entry["slots"] for entry in record.values())
        if (slots < share and free > 0) or (slots > share and (share < self._target or self._used() < slots)):
            self._look.set()


def _sound(record: Value) -> bool:
    return all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), int) for name in ("slots", "wants", "beat"))
        for entry in record.values()
    )


def shares(limit: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Slots for each, as even as their wishes allow; what cannot be shared evenly goes to those who came first."""
    dealt = dict.fromkeys(wants, 0)
    while limit > 0 and (hungry := [name for name, wish in wants.items() if dealt[name] < wish]):
        for name in hungry[:limit]:
            dealt[name] += 1
        limit -= min(limit, len(hungry))
    return dealt
