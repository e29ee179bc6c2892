"""Handlers on a real consumer, each under a name of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from stenobus_bus import Bus, ConsumerSpec, Envelope, Received, RetryPolicy, Stored, Worker
from stenobus_bus.dead_letters import Entry, letters
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Event

from ..support.contracts import Ping

Handle = Callable[[Received[Any]], Awaitable[Sequence[Event] | None]]


class Bench:
    """What a test does to a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.name = f"handler-{uuid.uuid4().hex[:8]}"
        self.workers: list[Worker[Any]] = []

    def consumer(self, contract: type[Event] = Ping, name: str | None = None, **more: Any) -> ConsumerSpec:
        options = {"ack_wait": 1.0, **more}
        return ConsumerSpec(domain_stream(contract.subject), name or self.name, contract.subject, **options)

    async def work(
        self,
        handle: Handle,
        contract: type[Event] = Ping,
        *,
        name: str | None = None,
        bus: Bus | None = None,
        consumer: dict[str, Any] | None = None,
        **options: Any,
    ) -> Worker[Any]:
        """Start a worker; it is stopped with the test."""

        async def call(received: Received[Any]) -> Sequence[Event]:
            return await handle(received) or ()

        options = {"retry": RetryPolicy(base=0.01), **options}
        spec = self.consumer(contract, name, **(consumer or {}))
        worker = Worker(bus or self.bus, spec, contract, call, **options)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def publish(self, event: Event, **more: Any) -> Stored:
        return await self.bus.publish(event, Envelope.new(event, "test", **more))

    async def pings(self, *numbers: int) -> None:
        for number in numbers:
            await self.publish(Ping(number=number))

    async def raw(self, body: bytes, subject: str = Ping.subject, **headers: str) -> None:
        """Publish as any producer may, without an envelope."""
        await self.bus.store(subject, body, {name.replace("_", "-"): value for name, value in headers.items()})

    async def letters(self, name: str | None = None) -> list[Entry]:
        return [entry async for entry in letters(self.bus, name or self.name)]

    async def stored(self, contract: type[Event]) -> list[Remembered]:
        return [message async for message in read(self.bus, domain_stream(contract.subject), contract.subject)]

    async def info(self, name: str | None = None) -> dict[str, Any]:
        """What the server says about a consumer."""
        found: dict[str, Any] = await self.bus.api(f"CONSUMER.INFO.TEST.{name or self.name}")
        return found

    async def unacknowledged(self) -> int:
        """Deliveries that the server takes for unsettled; it counts acknowledgements a moment after they came."""
        return int((await self.info())["num_ack_pending"])

    async def settled(self, name: str | None = None) -> bool:
        """Nothing waits for the consumer, and nothing is in its hands."""
        info = await self.info(name)
        return bool(info["num_pending"] == info["num_ack_pending"] == 0)


@pytest.fixture
async def bench(bus: Bus) -> AsyncIterator[Bench]:
    bench = Bench(bus)
    yield bench
    for worker in bench.workers:
        await worker.stop(grace=0)
