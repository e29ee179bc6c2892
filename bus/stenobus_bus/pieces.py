"""Pieces of an answer while it is made: plain messages for whoever asked, stored nowhere.

Who listens too late has missed them, and who stops listening disturbs nobody: the answer itself is durable and has it
all. The subject follows from the request, ``stenobus.pieces.<asker>.<request>``, so that a producer which gives its
event an id of its own (``ce-id``) knows where to listen before it asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from .connection import Bus
from .envelope import Envelope, token

#: First words of the subjects. No stream takes them.
ROOT: Final = "stenobus.pieces"

log = structlog.get_logger(__name__)

Hear = Callable[[bytes], Awaitable[None]]


def subject(request: Envelope) -> str:
    """Where the pieces of the answer to a request are sent: under whoever asked, who may be let to no others."""
    return f"{ROOT}.{token(request.source.removeprefix('stenobus/'))}.{token(request.id)}"


async def send(bus: Bus, request: Envelope, piece: bytes) -> None:
    """Send a piece to whoever listens. A connection that is lost costs the piece, never the answer."""
    try:
        await bus.nc.publish(subject(request), piece)
    except NatsError as error:
        log.info("piece.lost", request=request.id, error=type(error).__name__)


@contextlib.asynccontextmanager
async def listening(bus: Bus, request: Envelope, hear: Hear) -> AsyncIterator[None]:
    """Hear the pieces of an answer, one after the other, for as long as the context is open.

    Args:
        hear: called with each piece. What it raises is logged, and the next piece comes all the same.
    """

    async def heard(msg: Msg) -> None:
        try:
            bus.limits.check_body(msg.data)
            await hear(msg.data)
        except Exception as error:
            log.warning("piece.refused", request=request.id, error=str(error) or type(error).__name__)

    listener = await bus.nc.subscribe(subject(request), cb=heard)
    try:
        yield
    except BaseException:
        with contextlib.suppress(NatsError):  # the connection may be gone with whoever listened
            await listener.unsubscribe()
        raise
    with contextlib.suppress(NatsError):
        await listener.drain()  # type: ignore[no-untyped-call]  # what came before the answer is heard before it
