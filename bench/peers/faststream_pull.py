"""FastStream as it comes: a pull subscriber with reliable settings. Batches of 1 or 100.

python faststream_pull.py URL STREAM EVENTS noop|onward BATCH
"""

from __future__ import annotations

import asyncio
import sys
import uuid

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import ConsumerConfig
from work import First, Watch


async def main(url: str, stream: str, total: int, kind: str, batch: int) -> None:
    broker = NatsBroker(url, logger=None)
    finished = asyncio.Event()
    declared = JStream(stream, declare=False)
    name = f"fs-{uuid.uuid4().hex[:8]}"
    subscriber = broker.subscriber(
        "bench.first",
        stream=declared,
        durable=name,
        config=ConsumerConfig(max_ack_pending=10_000),
        pull_sub=PullSub(batch_size=batch),
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )

    if kind == "onward":

        @subscriber
        async def onward(event: First) -> None:
            headers = {"Nats-Msg-Id": f"{name}-{event.number}"}
            await broker.publish(event, "bench.second", stream=stream, headers=headers, timeout=10)
            watch()
    else:

        @subscriber
        async def nothing(event: First) -> None:
            watch()

    async with broker:
        watch = Watch(total, finished.set)
        await broker.start()
        await finished.wait()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
