"""Whether a user of the server may do something, found out before it is done."""

from __future__ import annotations

from typing import Final

from nats.errors import Error as NatsError

from .acks import Acks
from .errors import ServerUnavailable

#: No stream is called so: what is to be stored in it alone is refused by whichever stream takes the subject.
_NOWHERE: Final = {"Nats-Expected-Stream": "-"}
#: Seconds the server gets to answer.
_TIMEOUT: Final = 10.0


async def may_publish(acks: Acks, subject: str) -> None:
    """Whether this user may publish on the subject of a stream. Nothing is stored.

    Whoever listens there without a stream hears an empty message.

    Raises:
        AccessDenied: it may not.
        ServerUnavailable: the server does not answer, or no stream takes the subject.
    """
    try:
        await (await acks.send(subject, b"", _NOWHERE, timeout=_TIMEOUT))
    except NatsError as error:
        raise ServerUnavailable(f"Nobody answers on {subject} ({type(error).__name__}).") from error
