"""What a streamed answer costs per chunk, from the server's socket to whoever takes the pieces.

python bench/llm_stream.py [--chunks 1000] [--rounds 5] [--pause 1]

The server is a process of its own that writes a chunk each ``--pause`` milliseconds, so that each is read by itself, as
those of a model are; with 0 it writes as fast as it is read. The cost is the client's CPU time. Beside ours, in the
same run: the openai SDK's own stream, and the bare bytes through the SDK's HTTP client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httpx2
import openai

from stenobus_bus import Bus, EmbeddedServer, pieces
from stenobus_bus.envelope import Envelope
from stenobus_contracts import LlmChunk, LlmRequest, Message
from stenobus_llm.providers.openai import OpenAI
from stenobus_llm.relay import Relay
from stenobus_llm.settings import Target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = LlmRequest(task="bench", messages=(Message(role="user", content="Go on."),), stream=True)
ASKED = Envelope.new(REQUEST, "stenobus/bench", id="request-1")
BODY = {"model": "m", "messages": [{"role": "user", "content": "Go on."}], "stream": True}


def serve(port: Connection, chunks: int, pause: float) -> None:
    """Answer everything with a stream of so many chunks, each a write of its own."""

    def part(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
        event = b"data: %s\n\n" % json.dumps({**named, "choices": [choice], "usage": None}).encode()
        return b"%x\r\n%s\r\n" % (len(event), event)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(HEAD)
                for number in range(chunks):
                    writer.write(part({"content": f"word{number} "}))
                    await writer.drain()
                    if pause:
                        await asyncio.sleep(pause / 1000)
                writer.write(part({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def main(chunks: int, rounds: int, pause: float) -> None:
    """Measure each way, in turns."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, chunks, pause), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    provider = OpenAI(Target(name="bench", model="m", base_url=url))
    sdk = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0)
    with tempfile.TemporaryDirectory() as folder:
        nats = EmbeddedServer(Path(folder), port=0)
        try:
            async with (
                await Bus.connect(await nats.start(), bucket="bench") as bus,
                httpx2.AsyncClient(timeout=60) as client,
            ):
                ways = _ways(provider, sdk, bus, client, url)
                times: dict[str, list[float]] = {way: [] for way in ways}
                for way in [*ways, *list(ways) * rounds]:  # the first turn warms up
                    started = time.process_time()
                    heard = await ways[way]()
                    times[way].append((time.process_time() - started) / chunks)
                    assert heard == chunks, f"{way}: {heard} of {chunks} chunks"
        finally:
            await nats.stop()
            await provider.close()
            await sdk.close()
            server.terminate()
    for way, found in times.items():
        found = [seconds * 1000 for seconds in found[1:]]
        print(f"{way:<32} {statistics.median(found):.4f} ms CPU per chunk  ({min(found):.4f}–{max(found):.4f})")


def _ways(
    provider: OpenAI, sdk: openai.AsyncOpenAI, bus: Bus, client: httpx2.AsyncClient, url: str
) -> dict[str, Callable[[], Awaitable[int]]]:
    async def bare() -> int:
        async with client.stream("POST", f"{url}/chat/completions", json=BODY) as response:
            return sum([part.count(b"word") async for part in response.aiter_bytes()])

    async def by_sdk() -> int:
        stream = await sdk.chat.completions.create(**BODY)  # type: ignore[call-overload]
        return sum([bool(chunk.choices[0].delta.content) async for chunk in stream])

    async def heard_here() -> int:
        heard = 0

        async def hear(text: str) -> None:
            nonlocal heard
            heard += 1

        await provider.complete(REQUEST, hear)
        return heard

    async def relayed() -> int:
        sent = 0

        async def send(chunk: LlmChunk) -> None:
            nonlocal sent
            sent += 1
            await pieces.send(bus, ASKED, chunk.model_dump_json(exclude_none=True).encode())

        await provider.complete(REQUEST, Relay(send, "request-1").text)
        await bus.nc.flush()
        return sent

    return {"bytes": bare, "openai SDK": by_sdk, "ours": heard_here, "ours, relayed over the bus": relayed}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.0, help="milliseconds")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.chunks, arguments.rounds, arguments.pause))
