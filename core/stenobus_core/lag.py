"""What waits on the server: per handler the events before it and how old the oldest is, per stream how full it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from nats.errors import Error as NatsError

from stenobus_bus import Bus, BusError, direct

K = TypeVar("K")
V = TypeVar("V")

_NS: Final = 1_000_000_000
#: Questions to the server on the way at once.
_PARALLEL: Final = 8


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits for one handler."""

    stream: str
    handler: str
    #: Subject patterns it listens to.
    subjects: tuple[str, ...]
    #: Events that were never delivered.
    pending: int
    #: Events that were delivered and not settled, retries that wait for their time included.
    unsettled: int
    #: Of these, events that were delivered more than once.
    redelivered: int
    #: Unsettled events from which on the server delivers no more; 0 for any number.
    unsettled_limit: int
    #: Requests for events that are open: 0 means that nobody asks for work.
    waiting: int
    #: An operator paused it.
    paused: bool
    #: The plugin that declared it, empty when somebody else did.
    plugin: str
    #: Sequence up to which everything is settled.
    floor: int

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Lag:
        """Read it from the server's consumer info."""
        config = info["config"]
        described = str(config.get("description", ""))
        several = config.get("filter_subjects") or ([config["filter_subject"]] if config.get("filter_subject") else [])
        return cls(
            stream=info["stream_name"],
            handler=info["name"],
            subjects=tuple(several),
            pending=info["num_pending"],
            unsettled=info["num_ack_pending"],
            unsettled_limit=max(0, config.get("max_ack_pending", 0)),
            redelivered=info["num_redelivered"],
            waiting=info["num_waiting"],
            paused=bool(info.get("paused")),
            plugin=described.removeprefix(_DESCRIBED) if described.startswith(_DESCRIBED) else "",
            floor=info["ack_floor"]["stream_seq"],
        )


#: How :meth:`Handler.consumer` describes what it declares.
_DESCRIBED: Final = "Stenobus plugin "


@dataclass(frozen=True, slots=True)
class StreamSize:
    """How full a stream is. A limit of 0 is none."""

    name: str
    messages: int
    bytes: int
    consumers: int
    #: Sequence of the last message.
    last: int
    max_messages: int
    max_bytes: int
    #: Seconds.
    max_age: float

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> StreamSize:
        """Read it from the server's stream info."""
        config, state = info["config"], info["state"]
        return cls(
            name=config["name"],
            messages=state["messages"],
            bytes=state["bytes"],
            consumers=state["consumer_count"],
            last=state["last_seq"],
            max_messages=max(0, config.get("max_msgs", 0)),
            max_bytes=max(0, config.get("max_bytes", 0)),
            max_age=config.get("max_age", 0) / _NS,
        )


async def lag(bus: Bus, stream: str, handler: str) -> Lag:
    """What waits for a handler.

    Raises:
        BusError: its consumer does not exist, or the server does not answer.
    """
    return Lag.of(await bus.api(f"CONSUMER.INFO.{stream}.{handler}"))


async def lags(bus: Bus, stream: str) -> list[Lag]:
    """What waits for each consumer of a stream. Raises BusError."""
    return [Lag.of(info) async for info in bus.pages(f"CONSUMER.LIST.{stream}", "consumers")]


async def stream_sizes(bus: Bus) -> list[StreamSize]:
    """How full each stream and bucket is. Raises BusError."""
    return [StreamSize.of(info) async for info in bus.pages("STREAM.LIST", "streams")]


async def stream_size(bus: Bus, stream: str) -> StreamSize:
    """How full a stream is. Raises BusError."""
    return StreamSize.of(await bus.api(f"STREAM.INFO.{stream}"))


async def oldest(bus: Bus, waiting: Lag) -> float:
    """Seconds since the oldest event was stored that the handler has not settled; 0 when there is none.

    Everything up to the acknowledgement floor is settled, and the next event of the subject is not: so one look finds
    it, however many there are.

    Raises:
        BusError: the stream does not answer.
    """
    if not waiting.pending and not waiting.unsettled:
        return 0.0
    ages = [await _age(bus, waiting.stream, subject, waiting.floor + 1) for subject in waiting.subjects or (">",)]
    return max(ages)


async def _age(bus: Bus, stream: str, subject: str, start: int) -> float:
    try:
        async for message in direct.messages(bus.nc, stream, subject, start=start, batch=1):
            stored = datetime.fromisoformat((message.headers or {})["Nats-Time-Stamp"])
            return max(0.0, (datetime.now(UTC) - stored).total_seconds())
    except (NatsError, TimeoutError) as error:
        raise BusError(f"The stream {stream} does not answer ({type(error).__name__}).") from error
    return 0.0


async def gather(
    keys: Iterable[K], ask: Callable[[K], Awaitable[V]], *, deadline: float, parallel: int = _PARALLEL
) -> dict[K, V]:
    """The answers about many things, asked a few at a time. What fails or is late is left out.

    Args:
        deadline: seconds for all of them together.
    """
    found: dict[K, V] = {}
    turn = asyncio.Semaphore(parallel)

    async def one(key: K) -> None:
        async with turn:
            try:
                found[key] = await ask(key)
            except BusError:
                return  # the caller sees that it is missing

    tasks = [asyncio.create_task(one(key)) for key in keys]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=deadline)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found
