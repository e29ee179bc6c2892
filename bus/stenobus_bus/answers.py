"""Durable request and answer: ask once, be answered once, whoever crashes in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from stenobus_contracts import Event, registry

from . import pieces
from .connection import Bus
from .envelope import ONLY, REPLAY, SHADOW, Envelope, attributes, token
from .errors import BusError, RequestTimeout, ServerUnavailable

BUCKET: Final = "stenobus_answers"
#: Seconds an answer can be found.
TTL: Final = 7 * 86_400.0
#: Header of what takes the place of an entry that somebody deleted or purged.
_REMOVED: Final = "KV-Operation"
#: Most seconds between looks into the bucket, in case the direct message got lost in a reconnect.
_LOOK: Final = 5.0


def subject(request: Envelope) -> str:
    """Where the answer to a request is stored: under whoever asked, who may be let to no other answers."""
    return f"$KV.{BUCKET}.{token(request.source.removeprefix('stenobus/'))}.{token(request.id)}"


def awaited(envelope: Envelope, msg: Msg) -> bool:
    """Whether somebody waits for the answer to a request.

    A request that was asked under a shadow is like any other; one that is handed to a shadowed handler to try it out
    has its answer, which must stay.
    """
    found = attributes(msg.headers)
    return envelope.shadow is None or (SHADOW in found and ONLY not in found)


async def answer(bus: Bus, event: Event, envelope: Envelope, request: Envelope) -> None:
    """Store the answer to a request for whoever asked."""
    body, claim = await bus.claims.check_in(event.body())
    await bus.store(subject(request), body, {**envelope.headers(), **claim})


async def given(bus: Bus, request: Envelope, handler: str) -> bool:
    """Whether a handler has stored its answer to a request, in the same replay.

    An answer is stored when all else that the handler returned is, so that nothing is left to do but to remember it:
    whoever died before it did so need not be asked again, which may cost money. Only the leader of the bucket is sure
    to know what was written a moment ago.

    Raises:
        ServerUnavailable: the bucket does not answer.
    """
    try:
        raw = await bus.js.get_last_msg(f"KV_{BUCKET}", subject(request))
    except NotFoundError:
        return False
    except NatsError as error:
        raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
    found = attributes(raw.headers)
    return found.get("source") == f"stenobus/{handler}" and found.get(REPLAY) == request.replay


async def request(
    bus: Bus, event: Event, envelope: Callable[[int], Envelope], timeout: float, hear: pieces.Hear | None = None
) -> Event:
    """Publish a request and wait for its answer; an answer that exists already is returned at once.

    Args:
        envelope: of the n-th time this is asked, from 0. Its id must follow from what is asked and from n, so that
            asking again after a crash finds the first answer, and asking again after an error that may pass asks anew.
        timeout: seconds to wait.
        hear: called with the pieces of the answer that come while it is made; with none where it exists already.

    Raises:
        RequestTimeout: no answer in time.
        BusError: no contract answers this one, or the bus failed.
    """
    contract = registry.answer_to(type(event))
    if contract is None:
        raise BusError(f"Nothing answers {event.subject}: no contract declares answers={type(event).__name__}.")
    number = 0
    while (earlier := await _look(bus, contract, subject(envelope(number)))) is not None:
        error = getattr(earlier, "error", None)
        if error is None or getattr(error, "final", False):
            return earlier
        number += 1
    asked = envelope(number)
    async with pieces.listening(bus, asked, hear) if hear else contextlib.nullcontext():
        return await _ask(bus, event, asked, contract, timeout)


async def _ask(bus: Bus, event: Event, envelope: Envelope, contract: type[Event], timeout: float) -> Event:
    arrived: asyncio.Queue[Msg] = asyncio.Queue()

    async def enqueue(msg: Msg) -> None:
        arrived.put_nowait(msg)

    where = subject(envelope)
    # The bucket's writes are plain messages too: listening first makes the answer arrive without polling.
    listening = await bus.nc.subscribe(where, cb=enqueue)
    try:
        await bus.publish(event, envelope)
        pause = 0.05  # an answer that came while we began to listen is seen soon
        async with asyncio.timeout(timeout):
            while True:
                pause = min(2 * pause, _LOOK)
                try:
                    async with asyncio.timeout(pause):
                        if (heard := await _read(bus, contract, await arrived.get())) is not None:
                            return heard
                except TimeoutError:
                    with contextlib.suppress(ServerUnavailable):  # an outage shorter than the timeout is none
                        if (found := await _look(bus, contract, where)) is not None:
                            return found
    except TimeoutError as error:
        raise RequestTimeout(
            f"{event.full_subject}: no answer within {timeout:.0f} s; is its plugin running?"
        ) from error
    finally:
        with contextlib.suppress(NatsError):  # the connection may be gone with whoever waited
            await listening.unsubscribe()


async def _look(bus: Bus, contract: type[Event], where: str) -> Event | None:
    try:
        raw = await bus.js.get_last_msg(f"KV_{BUCKET}", where, direct=True)
    except NotFoundError:
        return None
    except NatsError as error:
        raise ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).") from error
    return await _read(bus, contract, Msg(bus.nc, subject=where, data=raw.data or b"", headers=raw.headers))


async def _read(bus: Bus, contract: type[Event], msg: Msg) -> Event | None:
    """The answer in a message; None when the message says that the answer was removed."""
    if _REMOVED in (msg.headers or {}):
        return None
    body = await bus.claims.whole(msg.data, msg.headers)
    bus.limits.check_body(body)
    return contract.model_validate_json(body)
