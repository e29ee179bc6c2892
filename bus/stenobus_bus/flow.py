"""Flow control of one handler: how many of its events may be in work here, how often, and which lane's comes next.

A handler that declares none of it has no :class:`Flow`, and pays nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from nats.aio.msg import Msg

from .connection import Bus
from .envelope import Delivery
from .fleet import Fleet
from .pull import PullLoop
from .rates import TokenBucket

#: Seconds a request for events stays open at most. Slots of the fleet and shares of a lane can be given to others only
#: when no request holds them, and a lane that looked full may have been emptied by another process.
_EXPIRES: Final = 2.0


class Lane:
    """One subject of a handler, with a consumer and a pull loop of its own.

    Args:
        weight: events of this lane per event of a lane of weight 1, while both have events waiting.
    """

    def __init__(self, flow: Flow, weight: int) -> None:
        self._flow, self.weight = flow, weight
        self.loop: PullLoop
        #: Events that wait for a hand.
        self.waiting: deque[asyncio.Future[None]] = deque()
        #: Where the lane stands in virtual time: its next event's turn (start-time fair queueing).
        self.turn = 0.0
        self.expires = _EXPIRES

    @property
    def used(self) -> int:
        """Events in hand or asked for."""
        return self.loop.active + self.loop.asked

    @property
    def busy(self) -> bool:
        """The server has more events than were asked for, as far as we know."""
        return self.loop.pending > 0

    def free(self) -> int:
        """Events the lane's loop may ask for now."""
        return self._flow.free(self)

    async def handle(self, msg: Msg, delivery: Delivery) -> None:
        """Handle an event once there is a hand for it."""
        await self._flow.handle(self, msg, delivery)


class Flow:
    """The hands of one handler in one process, shared by its lanes, and bounded by its share of the fleet's.

    Args:
        concurrency: events in work at once in this process.
        handle: called with each message that has a hand.
        fleet: events in work at once over all processes; None for no such limit.
        lease: seconds after which a killed process's slots go to others.
        rate: bucket of which each attempt takes a token; None for no such limit.
    """

    def __init__(
        self,
        bus: Bus,
        handler: str,
        handle: Callable[[Msg, Delivery], Awaitable[None]],
        *,
        concurrency: int,
        fleet: int | None,
        lease: float,
        rate: TokenBucket | None,
    ) -> None:
        self._concurrency, self._handle = concurrency, handle
        self._rate = rate
        #: Tasks that have their token, and are at work with it.
        self._admitted: set[asyncio.Task[None] | None] = set()
        self._lanes: list[Lane] = []
        self._running = 0
        self._now = 0.0  # virtual time: the turn of the event that was begun last
        self._fleet = (
            Fleet(bus, handler, limit=fleet, wants=concurrency, lease=lease, used=self._used, changed=self._wake)
            if fleet
            else None
        )

    def lane(self, weight: int) -> Lane:
        """One more lane. The first one is preferred where turns are equal."""
        self._lanes.append(Lane(self, weight))
        return self._lanes[-1]

    async def open(self) -> None:
        """Join the fleet. Raises ServerUnavailable."""
        if self._fleet:
            await self._fleet.open()

    async def close(self) -> None:
        """Give the slots of the fleet back."""
        if self._fleet:
            await self._fleet.close()

    @property
    def healthy(self) -> bool:
        """The slots of the fleet are being renewed."""
        return self._fleet is None or self._fleet.healthy

    @property
    def _hands(self) -> int:
        """Events that may be in work now."""
        return self._concurrency if self._fleet is None else min(self._concurrency, self._fleet.slots)

    def _used(self) -> int:
        return sum(lane.used for lane in self._lanes)

    # --- asking ------------------------------------------------------------------------------------------------------

    def free(self, lane: Lane) -> int:
        """Events a lane may ask for now.

        A lane that is known to have events waiting gets free hands in its turn. Any other one has a request for a
        single event open, hand or no hand, so that the others can use all hands and its next event is seen at once.
        """
        size = self._concurrency if self._fleet is None else min(self._concurrency, self._fleet.share)
        if self._rate:
            size = min(size, self._affordable(self._rate))
        if len(self._lanes) == 1:
            return size - lane.used
        if not lane.busy:
            return int(size > 0 and not lane.loop.asked and not lane.waiting)
        free = size - sum(each.loop.active + (each.loop.asked if each.busy else 0) for each in self._lanes)
        return self._deal(free).count(lane)

    def _affordable(self, rate: TokenBucket) -> int:
        """Events that may be in hand or asked for, as far as tokens go. What has to wait does so at the server, but for
        one event, which waits here so that its token is used as soon as it is there."""
        return len(self._admitted) + max(1, int(rate.left))

    def _deal(self, free: int) -> list[Lane]:
        """Whom the free hands go to, one after the other."""
        left = {lane: lane.loop.pending - lane.loop.asked for lane in self._lanes}
        turns = {lane: max(self._now, lane.turn) + lane.loop.asked / lane.weight for lane in self._lanes}
        dealt: list[Lane] = []
        while len(dealt) < free and (hungry := [lane for lane in self._lanes if left[lane] > 0]):
            lane = min(hungry, key=turns.__getitem__)
            dealt.append(lane)
            left[lane] -= 1
            turns[lane] += 1 / lane.weight
        return dealt

    # --- handling ----------------------------------------------------------------------------------------------------

    async def handle(self, lane: Lane, msg: Msg, delivery: Delivery) -> None:
        """Handle an event once there is a hand for it. It is kept alive meanwhile."""
        if self._running >= self._hands or any(each.waiting for each in self._lanes):
            await self._turn(lane)
        else:
            self._begin(lane)
        try:
            await self._handle(msg, delivery)
        finally:
            self._running -= 1
            self._admitted.discard(asyncio.current_task())
            # Once the loop has counted this event out.
            asyncio.get_running_loop().call_soon(self._wake)

    async def admit(self) -> None:
        """Wait for the token of one attempt. Raises ServerUnavailable."""
        if self._rate:
            await self._rate.acquire()
            self._admitted.add(asyncio.current_task())
            self._wake()

    async def _turn(self, lane: Lane) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._running -= 1
                self._wake()
            elif turn in lane.waiting:
                lane.waiting.remove(turn)
            raise

    def _begin(self, lane: Lane) -> None:
        self._running += 1
        self._now = max(self._now, lane.turn)
        lane.turn = self._now + 1 / lane.weight

    def _wake(self) -> None:
        """Hands may have become free: for events that wait here first, then for those at the server."""
        while self._running < self._hands and (waiting := [lane for lane in self._lanes if lane.waiting]):
            lane = min(waiting, key=lambda each: max(self._now, each.turn))
            turn = lane.waiting.popleft()
            if not turn.cancelled():  # whoever gave up does not know it yet
                self._begin(lane)
                turn.set_result(None)
        for lane in self._lanes:
            lane.loop.wake()
