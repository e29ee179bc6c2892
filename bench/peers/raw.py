"""nats-py alone: ``fetch(100)``, the model, an acknowledgement. ``onward`` publishes to the next subject as well.

python raw.py URL STREAM EVENTS noop|onward
"""

from __future__ import annotations

import asyncio
import sys
import uuid

import nats
from nats.aio.msg import Msg
from work import First, Watch


async def main(url: str, stream: str, total: int, kind: str) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream()
    name = f"raw-{uuid.uuid4().hex[:8]}"
    await js.add_consumer(stream, durable_name=name, filter_subject="bench.first", max_ack_pending=10_000)
    pull = await js.pull_subscribe_bind(consumer=name, stream=stream)
    watch = Watch(total, lambda: None)

    async def onward(msg: Msg) -> None:
        event = First.model_validate_json(msg.data)
        headers = {"Nats-Msg-Id": f"{name}-{event.number}"}
        await js.publish("bench.second", event.model_dump_json().encode(), headers=headers)
        await msg.ack()

    left = total
    while left:
        messages = await pull.fetch(min(100, left))
        left -= len(messages)
        if kind == "onward":
            await asyncio.gather(*map(onward, messages))
        else:
            for msg in messages:
                First.model_validate_json(msg.data)
                await msg.ack()
        for _ in messages:
            watch()
    await nc.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
