"""Read stored messages in batches through the direct-get API: no consumer to create, resume or clean up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

_TIMEOUT: Final = 10.0
_END: Final = "204"
_NOTHING: Final = "404"


async def message(nc: Client, stream: str, sequence: int) -> Msg | None:
    """One message, with the headers that :func:`messages` describes, or None when it is gone.

    Raises:
        TimeoutError: the server did not answer.
        nats.errors.Error: the connection failed, or the stream has no direct get.
    """
    query = json.dumps({"seq": sequence}).encode()
    msg = await nc.request(f"$JS.API.DIRECT.GET.{stream}", query, timeout=_TIMEOUT)
    return None if _status(msg) == _NOTHING else msg


async def messages(
    nc: Client, stream: str, subject: str, *, start: int = 1, since: str | None = None, batch: int = 256
) -> AsyncGenerator[Msg, None]:
    """Messages of a stream in order, from a sequence or a time on, until there are no more.

    Their headers hold ``Nats-Sequence``, ``Nats-Subject`` and ``Nats-Time-Stamp`` beside the original ones.

    Args:
        subject: filter, wildcards allowed.
        start: first sequence.
        since: RFC 3339 time that takes the place of ``start``.
        batch: messages on the way at a time, which bounds the memory.

    Raises:
        TimeoutError: the server stopped answering.
        nats.errors.Error: the connection failed.
    """
    received: asyncio.Queue[Msg] = asyncio.Queue()

    async def enqueue(msg: Msg) -> None:
        received.put_nowait(msg)

    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=enqueue, pending_bytes_limit=0, pending_msgs_limit=0)
    try:
        place: dict[str, object] = {"start_time": since} if since else {"seq": start}
        while place:
            query = {"next_by_subj": subject, "batch": batch, **place}
            await nc.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox)
            place = {}
            while True:
                if received.empty():
                    async with asyncio.timeout(_TIMEOUT):
                        msg = await received.get()
                else:  # most are here already: a timeout for each takes longer than the rest
                    msg = received.get_nowait()
                if _status(msg) in {_END, _NOTHING}:
                    break  # the batch ended; nothing there
                place = {"seq": int((msg.headers or {})["Nats-Sequence"]) + 1}
                yield msg
    finally:
        if not nc.is_closed:
            await subscription.unsubscribe()


def _status(msg: Msg) -> str | None:
    """What the server says instead of a message, None for a message.

    Raises:
        nats.errors.Error: it is neither the end nor a hole; taking it for one would make an outage look like
            missing messages.
    """
    headers = msg.headers or {}
    status = headers.get("Status")
    if "Nats-Sequence" not in headers and status not in {_END, _NOTHING}:
        raise NatsError(f"{status} {headers.get('Description', '')}".strip())
    return None if "Nats-Sequence" in headers else status
