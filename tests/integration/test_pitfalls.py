"""Ten ways in which FastStream and nats-py lose, repeat or leak work as they come, each beside what happens here.

The first half of each test fails once upstream mends it; then our own code for it may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub, TestNatsBroker
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from stenobus_bus import Bus, ConsumerSpec, EmbeddedServer, PublishFailed, RetryPolicy, apply
from stenobus_bus.topology import domain
from stenobus_core import Context, Plugin
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Ping, Pong

#: Seconds after which the server delivers again.
ACK_WAIT = 1.0
#: Nobody waits that long.
LONG = 300.0
Handle = Callable[[dict[str, Any]], Awaitable[Any]]


@asynccontextmanager
async def stock(
    server: EmbeddedServer, handle: Handle, *, graceful_timeout: float = 1.0, **options: Any
) -> AsyncIterator[NatsBroker]:
    """A FastStream pull subscriber as its documentation writes it, on the durable consumer ``stock``."""
    broker = NatsBroker(server.url, logger=None, graceful_timeout=graceful_timeout)
    options = {"pull_sub": PullSub(batch_size=1, timeout=1.0), "config": ConsumerConfig(ack_wait=ACK_WAIT), **options}
    broker.subscriber("test.ping", stream=JStream("TEST", declare=False), durable="stock", **options)(handle)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


def ours(handle: Callable[[Ping], Awaitable[Any]], **options: Any) -> Plugin:
    plugin = Plugin(unique())

    @plugin.handler(**options)
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong | None:
        return await handle(event)  # type: ignore[no-any-return]

    return plugin


async def pings(bus: Bus, count: int = 1) -> None:
    for number in range(count):
        await bus.store("test.ping", Ping(number=number).body(), {})


async def told(bus: Bus, consumer: str = "stock") -> dict[str, Any]:
    """What the server says about a consumer."""
    found: dict[str, Any] = await bus.api(f"CONSUMER.INFO.TEST.{consumer}")
    return found


async def test_1_an_error_in_a_handler_makes_its_event_disappear(stage: Stage, server: EmbeddedServer) -> None:
    async def fail(_: Any) -> None:
        raise ValueError("no")

    async with stock(server, fail, config=ConsumerConfig(ack_wait=LONG)):
        await pings(stage.bus)
        await eventually(lambda: _settled(stage, "stock"))
    assert (await told(stage.bus))["delivered"]["consumer_seq"] == 1  # once, and never again

    plugin = ours(fail, attempts=1)
    await stage.run(plugin)
    ((_, letter),) = await eventually(lambda: stage.letters(plugin.name))
    assert (letter.reason, letter.data) == ("exhausted", Ping(number=0).body().decode())


async def test_2_a_negative_acknowledgement_is_a_hot_loop(stage: Stage, server: EmbeddedServer) -> None:
    runs: list[int] = []

    async def fail(_: Any) -> None:
        runs.append(1)
        raise ValueError("no")

    async with stock(server, fail, ack_policy=AckPolicy.NACK_ON_ERROR):
        await pings(stage.bus)
        await eventually(lambda: len(runs) > 100)

    runs.clear()
    await stage.run(ours(fail, retry=RetryPolicy(base=0.4)))
    await eventually(lambda: runs)
    await still(lambda: len(runs) <= 3, 0.6)


async def test_3_workers_take_more_than_they_can_handle_and_repeat_it(stage: Stage, server: EmbeddedServer) -> None:
    runs: list[int] = []

    async def slow(_: Any) -> None:
        runs.append(1)
        await asyncio.sleep(0.3)

    count = 12
    await pings(stage.bus, count)
    async with stock(server, slow, max_workers=2, pull_sub=PullSub(batch_size=count, timeout=1.0)):
        await eventually(lambda: len(runs) > count)

    runs.clear()
    plugin = ours(slow, concurrency=2)
    await stage.run(plugin, ack_wait=ACK_WAIT)
    await eventually(lambda: stage.settled(plugin.name))
    assert len(runs) == count


async def test_4_work_longer_than_ack_wait_is_begun_again(stage: Stage, server: EmbeddedServer) -> None:
    gate = Gate()

    async def wait(_: Any) -> None:
        await gate()

    async with stock(server, wait, graceful_timeout=0.1), stock(server, wait, graceful_timeout=0.1):
        await pings(stage.bus)
        await eventually(lambda: gate.waiting == 2)  # one event
        gate.open()

    gate = Gate()
    plugin = ours(wait, concurrency=2)
    await stage.run(plugin, ack_wait=ACK_WAIT)
    await eventually(lambda: gate.waiting == 1)
    await still(lambda: gate.waiting == 1, 1.5 * ACK_WAIT)
    gate.open()


async def test_5_a_changed_consumer_setting_is_ignored(stage: Stage, server: EmbeddedServer) -> None:
    async def handle(_: Any) -> None:
        return None

    for seconds in (5, 50):
        async with stock(server, handle, config=ConsumerConfig(ack_wait=seconds)):
            pass
    assert (await told(stage.bus))["config"]["ack_wait"] == 5e9

    for seconds in (5, 50):
        await apply(stage.bus, [ConsumerSpec("TEST", "ours", "test.ping", ack_wait=seconds)])
    assert (await told(stage.bus, "ours"))["config"]["ack_wait"] == 50e9


async def test_6_a_start_takes_an_operators_settings_back(stage: Stage, server: EmbeddedServer) -> None:
    settings = {"description": "ask Ada first", "compression": "s2", "max_age": 3_600_000_000_000}

    async def operate() -> None:
        config = (await stage.bus.api("STREAM.INFO.OPERATED"))["config"]
        await stage.bus.api("STREAM.UPDATE.OPERATED", {**config, **settings})

    async def kept() -> int:
        config = (await stage.bus.api("STREAM.INFO.OPERATED"))["config"]
        return sum(config.get(name) == value for name, value in settings.items())

    await stage.bus.api("STREAM.CREATE.OPERATED", {"name": "OPERATED", "subjects": ["operated.>"], "storage": "file"})
    await operate()
    broker = NatsBroker(server.url, logger=None)
    broker.subscriber("operated.thing", stream=JStream("OPERATED"), durable="stock", pull_sub=True)(_ignore)
    await broker.start()
    await broker.stop()
    assert await kept() == 0

    await operate()
    await apply(stage.bus, [domain("operated")])
    assert await kept() == 3


async def _ignore(_: Any) -> None:
    return None


async def test_7_a_missing_consumer_is_asked_for_without_a_pause(stage: Stage, server: EmbeddedServer) -> None:
    handled: list[int] = []

    async def handle(_: Any) -> None:
        handled.append(1)

    async with stock(server, _ignore) as broker:
        stats = broker._connection.stats  # who listens to the requests would answer for the consumer
        await stage.bus.api("CONSUMER.DELETE.TEST.stock")
        before = stats["out_msgs"]
        await eventually(lambda: stats["out_msgs"] > before + 200)

    plugin = ours(handle)
    await stage.run(plugin)
    stats = stage.bus.nc.stats
    await stage.bus.api(f"CONSUMER.DELETE.TEST.{plugin.name}")
    before = stats["out_msgs"]
    await pings(stage.bus)
    await eventually(lambda: handled)  # it is there again
    assert stats["out_msgs"] < before + 100


async def test_8_what_nobody_stores_counts_as_published(stage: Stage, server: EmbeddedServer) -> None:
    async with NatsBroker(server.url, logger=None) as broker:
        assert await broker.publish({"number": 1}, "test.ping") is None  # stored, and no word about it
        assert await broker.publish({"number": 1}, "nowhere.at-all") is None  # gone, and no word about it

    assert (await stage.bus.store("test.ping", b"{}", {})).sequence == 2
    with pytest.raises(PublishFailed, match="no stream takes this subject"):
        await stage.bus.store("nowhere.at-all", b"{}", {}, deadline=0.2)


async def test_9_a_stop_leaves_events_waiting_for_their_timeout(stage: Stage, server: EmbeddedServer) -> None:
    gate, others = Gate(), []

    async def wait(_: Any) -> None:
        await gate()

    async def handle(_: Any) -> None:
        others.append(1)

    long = ConsumerConfig(ack_wait=LONG)
    async with stock(server, wait, config=long, graceful_timeout=0.1):
        await pings(stage.bus)
        await eventually(lambda: gate.waiting == 1)
    async with stock(server, handle, config=long):
        await still(lambda: not others, 0.5)

    plugin = ours(wait)
    host = await stage.run(plugin, ack_wait=LONG)
    await eventually(lambda: gate.waiting == 1)
    await host.stop(grace=0)
    successor = ours(handle)
    successor.name = plugin.name
    successor.handlers[0] = replace(successor.handlers[0], name=plugin.name)
    await stage.run(successor, ack_wait=LONG)
    await eventually(lambda: others)


async def test_10_the_test_broker_delivers_nothing_again(stage: Stage) -> None:
    runs: list[int] = []
    broker = NatsBroker(logger=None)

    @broker.subscriber("test.ping", stream=JStream("TEST"), pull_sub=True, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def fail(_: Any) -> None:
        runs.append(1)
        raise ValueError("no")

    async with TestNatsBroker(broker):
        with pytest.raises(ValueError, match="no"):
            await broker.publish({"number": 1}, "test.ping", stream="TEST")
        await still(lambda: len(runs) == 1, 0.3)
    runs.clear()

    plugin = ours(fail, retry=RetryPolicy(attempts=2, base=0.01))
    await stage.run(plugin)
    await pings(stage.bus)
    await eventually(lambda: len(runs) == 2)


async def test_11_a_producer_chooses_where_a_result_goes(stage: Stage, server: EmbeddedServer) -> None:
    leaked: list[Msg] = []

    async def listen(msg: Msg) -> None:
        leaked.append(msg)

    async def answer(_: Any) -> Pong:
        return Pong(number=1)

    await stage.bus.nc.subscribe("leak.>", cb=listen)
    async with stock(server, answer):
        await stage.bus.store("test.ping", Ping(number=1).body(), {"reply_to": "leak.here"})
        await eventually(lambda: leaked)
    leaked.clear()

    plugin = ours(answer)
    await stage.run(plugin)
    await stage.bus.store("test.ping", Ping(number=1).body(), {"reply_to": "leak.here", "reply-to": "leak.here"})
    await eventually(lambda: stage.stored(Pong))
    await stage.bus.nc.flush()
    assert leaked == []


async def _settled(stage: Stage, consumer: str) -> bool:
    info = await told(stage.bus, consumer)
    return bool(info["num_pending"] == info["num_ack_pending"] == 0 and info["delivered"]["consumer_seq"])
