"""Places on the wire, so that something can happen in any gap between two messages."""

from __future__ import annotations

import asyncio

from stenobus_bus import Bus


class Wire:
    """Counts messages, and sets an event at a given one."""

    def __init__(self) -> None:
        self.count = 0
        self._mark, self.reached = -1, asyncio.Event()

    async def watch(self, bus: Bus) -> None:
        """Count the messages of a bus from now on: events, acknowledgements, KV writes, heartbeats.

        Not the inboxes: to the server, whoever listens there would make the requests of dead processes look alive.
        """
        for subjects in ("$JS.>", "$KV.>", "*.*"):
            await bus.nc.subscribe(subjects, cb=self._see, pending_msgs_limit=0, pending_bytes_limit=0)

    async def _see(self, _: object) -> None:
        self.count += 1
        if self.count == self._mark:
            self.reached.set()

    def mark(self, after: int) -> None:
        self.count, self._mark = 0, after
        self.reached.clear()
