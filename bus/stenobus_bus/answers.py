"""Durable request and answer: ask once, be answered once, whoever crashes in between."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from stenobus_contracts import Event, registry

from .connection import Bus
from .envelope import CLAIM, Envelope, attributes, token
from .errors import BusError, RequestTimeout, ServerUnavailable

BUCKET: Final = "stenobus_answers"
#: Seconds an answer can be found.
TTL: Final = 7 * 86_400.0
#: Seconds between looks into the bucket, in case the direct message got lost in a reconnect.
_LOOK: Final = 5.0


def subject(request_id: str) -> str:
    """Where the answer to a request is stored."""
    return f"$KV.{BUCKET}.{token(request_id)}"


async def answer(bus: Bus, event: Event, envelope: Envelope, request_id: str) -> None:
    """Store the answer to a request for whoever asked."""
    body, claim = await bus.claims.check_in(event.body())
    await bus.store(subject(request_id), body, {**envelope.headers(), **claim})


async def request(bus: Bus, event: Event, envelope: Envelope, timeout: float) -> Event:
    """Publish a request and wait for its answer; an answer that exists already is returned at once.

    Args:
        envelope: its id must follow from what is asked, so that asking again after a crash finds the first answer.
        timeout: seconds to wait.

    Raises:
        RequestTimeout: no answer in time.
        BusError: no contract answers this one, or the bus failed.
    """
    contract = registry.answer_to(type(event))
    if contract is None:
        raise BusError(f"Nothing answers {event.subject}: no contract declares answers={type(event).__name__}.")
    arrived: asyncio.Queue[Msg] = asyncio.Queue()

    async def enqueue(msg: Msg) -> None:
        arrived.put_nowait(msg)

    where = subject(envelope.id)
    # The bucket's writes are plain messages too: listening first makes the answer arrive without polling.
    listening = await bus.nc.subscribe(where, cb=enqueue)
    try:
        found = await _look(bus, where)
        if found is None:
            await bus.publish(event, envelope)
            async with asyncio.timeout(timeout):
                while found is None:
                    try:
                        async with asyncio.timeout(_LOOK):
                            found = await arrived.get()
                    except TimeoutError:
                        found = await _look(bus, where)
        body = found.data
        if CLAIM in attributes(found.headers):
            body = await bus.claims.check_out(body)
        return contract.model_validate_json(body)
    except TimeoutError as error:
        raise RequestTimeout(f"{event.subject}: no answer within {timeout:.0f} s; is its plugin running?") from error
    finally:
        with contextlib.suppress(NatsError):  # the connection may be gone with whoever waited
            await listening.unsubscribe()


async def _look(bus: Bus, where: str) -> Msg | None:
    try:
        raw = await bus.js.get_last_msg(f"KV_{BUCKET}", where, direct=True)
    except NotFoundError:
        return None
    except NatsError as error:
        raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
    return Msg(bus.nc, subject=where, data=raw.data or b"", headers=raw.headers)
