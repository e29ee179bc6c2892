"""taskiq on NATS JetStream, pulled, acknowledged when done.

python taskiq_nats_pull.py URL EVENTS
"""

from __future__ import annotations

import asyncio
import sys
import uuid

from taskiq import AckableMessage  # noqa: F401 # fails early when the version is another one
from taskiq.api import run_receiver_task
from taskiq_nats import PullBasedJetStreamBroker
from work import First, Watch


async def main(url: str, total: int) -> None:
    name = f"taskiq_{uuid.uuid4().hex[:8]}"
    broker = PullBasedJetStreamBroker([url], subject=name, stream_name=name, durable=name, pull_consume_batch=100)
    finished = asyncio.Event()

    @broker.task
    async def nothing(event: First) -> None:
        watch()

    await broker.startup()
    for number in range(total):
        await nothing.kiq(First(number=number))
    watch = Watch(total, finished.set)
    receiver = asyncio.create_task(run_receiver_task(broker, max_async_tasks=100))
    await finished.wait()
    receiver.cancel()
    await asyncio.gather(receiver, return_exceptions=True)
    await broker.shutdown()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
