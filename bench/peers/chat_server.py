"""A server of chat completions that costs next to nothing: the same words to everybody, in one or in 200 pieces.

    python chat_server.py [PIECES]

Prints its URL, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys

PIECES = int(sys.argv[1]) if len(sys.argv) > 1 else 200
WORD = "word "


def _chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


USAGE = {"prompt_tokens": 10, "completion_tokens": PIECES, "total_tokens": 10 + PIECES}
WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }
).encode()
LAST = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [], "usage": USAGE}
# Numbered, since LiteLLM takes a hundred equal pieces for a model that is stuck.
STREAM = (
    b"".join(_chunk({"content": f"{WORD}{number} "}) for number in range(PIECES))
    + _chunk({}, "stop")
    + b"data: "
    + json.dumps(LAST).encode()
    + b"\n\ndata: [DONE]\n\n"
)


def _answer(kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
    return head + body


ANSWERS = {False: _answer(b"application/json", WHOLE), True: _answer(b"text/event-stream", STREAM)}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            writer.write(ANSWERS[b'"stream":true' in body or b'"stream": true' in body])
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # the client is done
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


asyncio.run(main())
