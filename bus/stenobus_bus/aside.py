"""Set an event aside that harms its handler: a dead letter first, then its deliveries end.

Deleting it from its stream would take it from every other handler, and from history. Terminating it ends the deliveries
of one consumer: whoever knows where an event lies can do that, whether or not a worker is left to answer.
"""

from __future__ import annotations

from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from .burial import LetterBook, bury, whereabouts
from .connection import ApiError, Bus
from .envelope import Delivery, Envelope
from .errors import Abandoned, ServerUnavailable
from .history import Remembered
from .pause import places
from .rights import may_publish
from .topology import CONSUMER_NOT_FOUND

#: Seconds the server gets to say that a delivery ended.
_TIMEOUT: Final = 10.0
_REASON: Final = "terminated"


async def set_aside(bus: Bus, handler: str, message: Remembered, attempts: int, why: str) -> None:
    """Store a dead letter with the reason ``terminated``, then end the event's deliveries to a handler.

    Doing it twice does it once, also after the server's window for duplicates.

    Args:
        attempts: how often it was tried.
        why: one sentence.

    Raises:
        BusError: the letter could not be stored, and nothing ended; or the server does not say that the deliveries
            ended. Do it again.
    """
    delivery = Delivery(message.stream, handler, max(1, attempts), message.sequence, message.timestamp, 0)
    if not await LetterBook(bus).holds(handler, delivery):
        msg = Msg(bus.nc, subject=message.subject, data=message.data, headers=message.headers)
        envelope = Envelope.received(msg, delivery, "unknown", message.attributes)
        await bury(bus, handler, msg, delivery, envelope, _REASON, Abandoned(why), attempts, None)
    for place in await places(bus, handler):
        if place.stream == message.stream:
            await _end(bus, place.consumer, message, whereabouts(handler, _REASON))


async def may_set_aside(bus: Bus, handler: str) -> None:
    """Raise AccessDenied where this user may store no dead letter of a handler. Changes nothing."""
    await may_publish(bus.acks, f"dlq.{handler}.{_REASON}")


async def _end(bus: Bus, consumer: str, message: Remembered, reason: str) -> None:
    """Terminate an event for one consumer, if it has it; wait for the server's word."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{message.stream}.{consumer}")
    except ApiError as error:
        if error.err_code == CONSUMER_NOT_FOUND:
            return
        raise
    if not info["ack_floor"]["stream_seq"] < message.sequence <= info["delivered"]["stream_seq"]:
        return  # settled, or never delivered
    # The place of the delivery among all deliveries is the only thing that is not known, and the server goes by the
    # event's place in the stream.
    reply = f"$JS.ACK.{message.stream}.{consumer}.1.{message.sequence}.1.{message.timestamp}.0"
    try:
        await bus.nc.request(reply, f"+TERM {reason}".encode(), timeout=_TIMEOUT)
    except NatsError as error:
        raise ServerUnavailable(
            f"The server does not say that {message.stream}/{message.sequence} ended ({type(error).__name__})."
        ) from error
