"""LiteLLM's Router on the fake server: calls one after the other, calls at once, pieces of a stream.

python litellm_router.py URL CALLS AT_ONCE PIECES
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would be fetched at the import

import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True
URL, CALLS, AT_ONCE, PIECES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
MESSAGES = [{"role": "user", "content": "Why? " * 100}]


async def main() -> None:
    deployment = {
        "model_name": "m",
        "litellm_params": {"model": "openai/fake", "api_base": URL, "api_key": "none"},
    }
    router = litellm.Router(model_list=[deployment], num_retries=0)

    async def call() -> None:
        await router.acompletion(model="m", messages=MESSAGES, temperature=0)

    for _ in range(20):
        await call()
    took = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        await call()
        took.append(time.perf_counter() - begun)

    left = iter(range(4 * CALLS))

    async def work() -> None:
        for _ in left:
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    rate = 4 * CALLS / (time.perf_counter() - begun)

    streams = []
    for _ in range(20):
        begun, pieces = time.perf_counter(), 0
        async for _chunk in await router.acompletion(
            model="m", messages=MESSAGES, temperature=0, stream=True, stream_options={"include_usage": True}
        ):
            pieces += 1
        assert pieces >= PIECES
        streams.append((time.perf_counter() - begun) / PIECES)
    print(json.dumps({"p50": statistics.median(took), "rate": rate, "piece": statistics.median(streams)}))


asyncio.run(main())
