"""Plugins on a real bus, and what came of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nats.aio.msg import Msg

from stenobus_bus import Bus, Envelope, dead_letters
from stenobus_bus.dead_letters import Entry
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import domain_stream
from stenobus_contracts import BlobRef, Event
from stenobus_core import CoreSettings, Handler, Host, Plugin
from stenobus_core.runs import Runs, Step

#: Seconds between two looks at consumers from which no acknowledgement comes.
_LOOK: Final = 0.02


def unique(name: str = "plugin") -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened on the bus."""

    #: Every event that was stored, stream by stream in order.
    published: tuple[Remembered, ...]
    letters: tuple[Entry, ...]
    #: The steps of every run so far, as they are now.
    steps: tuple[Step, ...]

    def of(self, contract: type[Event]) -> list[Remembered]:
        """The events of one contract."""
        return [message for message in self.published if message.subject == contract.subject]


class Stage:
    """Runs plugins and looks at what came of it."""

    def __init__(self, bus: Bus, settings: CoreSettings) -> None:
        self.bus, self.settings = bus, settings
        self.hosts: list[Host] = []
        self._seen: dict[str, int] = {}

    async def run(self, *plugins: Plugin, bus: Bus | None = None, **settings: Any) -> Host:
        """Start a host with some plugins; it is stopped with the test.

        Args:
            bus: its connection; the stage's own by default.
            settings: what differs from the stage's settings.
        """
        host = Host(self.settings.model_copy(update=settings), bus or self.bus, plugins)
        await host.start()
        self.hosts.append(host)
        return host

    async def publish(self, event: Event, **more: Any) -> Envelope:
        """Publish an event that starts a run, under the id and the run that are given, if any."""
        envelope = Envelope.new(event, "test", **more)
        await self.bus.publish(event, envelope)
        return envelope

    async def put(self, data: bytes | Path, content_type: str = "text/plain") -> BlobRef:
        """Store content that an event can refer to."""
        return await self.bus.objects.put(data, content_type)

    async def run_until_idle(self, within: float = 60.0) -> Outcome:
        """Wait until nothing is left to do: every handler's consumer has nothing waiting and nothing in hand, and no
        event was stored while we looked.

        Args:
            within: seconds it may take; events that wait for another attempt are work left to do.

        Returns:
            What was stored since the last call.

        Raises:
            AssertionError: it is not idle in time; the message names the handlers and what they still have.
        """
        acknowledged = asyncio.Event()

        async def wake(_: Msg) -> None:
            acknowledged.set()

        # Acknowledgements are messages too: the moment to look again is when one was sent.
        subscription = await self.bus.nc.subscribe("$JS.ACK.>", cb=wake)
        busy: dict[str, str] = {}
        try:
            async with asyncio.timeout(within):
                while True:
                    acknowledged.clear()
                    before = await self._last()
                    busy = await self._busy()
                    if not busy and before == await self._last():
                        return await self._since(before)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await acknowledged.wait()
        except TimeoutError:
            left = ", ".join(f"{name} has {what}" for name, what in busy.items()) or "events are still being stored"
            raise AssertionError(f"not idle within {within:g} s: {left}") from None
        finally:
            await subscription.unsubscribe()

    async def published(self, after: Mapping[str, int] | None = None) -> list[Remembered]:
        """Every event so far, stream by stream.

        Args:
            after: last sequences to leave out, by stream.
        """
        last, after = await self._last(), after or {}
        return [
            message
            for stream in sorted(last.keys() - {dead_letters.STREAM})
            if last[stream] > after.get(stream, 0)
            async for message in read(self.bus, stream, ">", from_sequence=after.get(stream, 0) + 1)
        ]

    async def stored(self, contract: type[Event]) -> list[Remembered]:
        """Every event of a contract so far."""
        return [message async for message in read(self.bus, domain_stream(contract.subject), contract.subject)]

    async def letters(self, handler: str | None = None) -> list[Entry]:
        """Every dead letter so far, of one handler or of all."""
        return [entry async for entry in dead_letters.letters(self.bus, handler)]

    async def steps(self, run: str | None = None) -> list[Step]:
        """The steps of one run, or of all."""
        return await (await Runs.open(self.bus)).steps(run)

    async def settled(self, handler: str, stream: str = "TEST") -> bool:
        """Whether nothing waits for a handler and nothing is in its hands."""
        info = await self.bus.api(f"CONSUMER.INFO.{stream}.{handler}")
        return bool(info["num_pending"] == info["num_ack_pending"] == 0)

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handlers that run now, by name."""
        return {handler.name: handler for host in self.hosts if host.workers for handler in host.handlers}

    async def _busy(self) -> dict[str, str]:
        """Handlers with work left."""
        busy = {}
        for handler in self.handlers.values():
            for consumer in handler.consumers(self.settings.ack_wait):
                info = await self.bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
                if left := info["num_pending"] + info["num_ack_pending"]:
                    waiting = f"{info['num_ack_pending']} in hand or waiting for another attempt"
                    busy[consumer.name] = f"{left} events left ({waiting})"
        return busy

    async def _last(self) -> dict[str, int]:
        """The last sequence of every stream of events."""
        found: dict[str, int] = {}
        async for stream in self.bus.pages("STREAM.LIST", "streams"):
            # What begins with a dollar is the server's own: buckets, advisories.
            if any(not subject.startswith("$") for subject in stream["config"].get("subjects") or ()):
                found[stream["config"]["name"]] = stream["state"]["last_seq"]
        return {name: last for name, last in found.items() if last}

    async def _since(self, last: dict[str, int]) -> Outcome:
        published = await self.published(self._seen)
        seen = self._seen.get(dead_letters.STREAM, 0)
        letters = [entry for entry in await self.letters() if entry.sequence > seen]
        self._seen = last
        return Outcome(tuple(published), tuple(letters), tuple(await self.steps()))


@asynccontextmanager
async def stage(bus: Bus, settings: CoreSettings) -> AsyncIterator[Stage]:
    """A stage whose hosts are stopped at the end."""
    stage = Stage(bus, settings)
    try:
        yield stage
    finally:
        for host in stage.hosts:
            await host.stop(grace=0)
