"""Read stored messages in batches through the direct-get API: no consumer to create, resume or clean up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

_TIMEOUT: Final = 10.0


async def messages(
    nc: Client, stream: str, subject: str, *, start: int = 1, since: str | None = None, batch: int = 256
) -> AsyncIterator[Msg]:
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
                async with asyncio.timeout(_TIMEOUT):
                    msg = await received.get()
                headers = msg.headers or {}
                if headers.get("Status") in {"204", "404"}:
                    break  # the batch ended; nothing there
                if "Nats-Sequence" not in headers:
                    # Taking this for the end would make an outage look like missing messages.
                    raise NatsError(f"{headers.get('Status')} {headers.get('Description', '')}".strip())
                place = {"seq": int(headers["Nats-Sequence"]) + 1}
                yield msg
    finally:
        if not nc.is_closed:
            await subscription.unsubscribe()
