"""Settlement: how a delivery ends, and how long a failed one waits."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client

_ACK: Final = b"+ACK"
_PROGRESS: Final = b"+WPI"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a failed event is tried again.

    Args:
        attempts: attempts in all before the dead letter, at least 1.
        base: seconds before the second attempt; doubled for each further one.
        cap: longest wait in seconds.
    """

    attempts: int = 5
    base: float = 1.0
    cap: float = 300.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt: exponential, the upper half of it random, so that a crowd spreads."""
        wait = min(self.cap, self.base * 2.0 ** min(attempt - 1, 32))
        return wait * random.uniform(0.5, 1.0)


async def acknowledge(nc: Client, reply: str) -> None:
    """The event is done with."""
    await nc.publish(reply, _ACK)


async def keep(nc: Client, reply: str) -> None:
    """Still at work: start the server's ``ack_wait`` anew."""
    await nc.publish(reply, _PROGRESS)


async def later(nc: Client, reply: str, delay: float) -> None:
    """Deliver again after some seconds. A bare negative acknowledgement would come back at once, for ever."""
    await nc.publish(reply, b"-NAK " + json.dumps({"delay": max(1, int(delay * 1e9))}).encode())


async def terminate(nc: Client, reply: str, reason: str) -> None:
    """Never deliver again. The reason shows in the server's advisory."""
    await nc.publish(reply, f"+TERM {reason}".encode())
