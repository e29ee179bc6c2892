"""One subscription for the answers to many requests."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nats.aio.client import Client
from nats.aio.msg import Msg


class Inbox(ABC):
    """Numbers requests and receives what is said to each. Base of everything that has many of them on the way."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        #: A request's number behind this is where its answers go.
        self._reply = ""
        self._count = 0

    async def open(self) -> None:
        """Listen for answers. Called once, before the first request."""
        reply = f"{self._nc.new_inbox()}."
        await self._nc.subscribe(f"{reply}*", cb=self._listen, pending_msgs_limit=0, pending_bytes_limit=0)
        self._reply = reply

    @abstractmethod
    def lost(self) -> None:
        """The connection broke: what was on the way, or its answer, may be lost."""

    def _number(self) -> str:
        self._count += 1
        return str(self._count)

    async def _listen(self, msg: Msg) -> None:
        self._receive(msg.subject[len(self._reply) :], msg)

    @abstractmethod
    def _receive(self, number: str, msg: Msg) -> None:
        """An answer to a request."""
