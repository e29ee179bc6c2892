"""An event in a handler's hands, and hooks around the work on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nats.aio.msg import Msg

from stenobus_contracts import Event, Reason

from .envelope import Delivery, Envelope

E = TypeVar("E", bound=Event)


@dataclass(slots=True)  # not frozen, for the sake of speed
class Received(Generic[E]):
    """An event in a handler's hands."""

    event: E
    envelope: Envelope
    delivery: Delivery
    #: From 1; deliveries that a stopping process handed back do not count.
    attempt: int
    #: The message it came in.
    msg: Msg


class Observer:
    """Hooks around a handler's work. Every hook does nothing here: override what you need."""

    async def before(self, received: Received[Any]) -> None:
        """The handler is about to run."""

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        """Outputs are stored; the event is about to be acknowledged."""

    async def skipped(self, envelope: Envelope, delivery: Delivery) -> None:
        """The ledger knows the event: its effects are in place, and it is about to be acknowledged."""

    async def interrupted(self, received: Received[Any]) -> None:
        """The process stops in the middle of the handler; the event is about to be handed back."""

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        """The attempt failed; the next one comes after ``delay`` seconds."""

    async def buried(self, envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
        """The event went to the dead letters."""


class Observers(Observer):
    """Several observers as one. The trouble of one is kept from the others."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    async def before(self, received: Received[Any]) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.before(received))

    async def succeeded(self, received: Received[Any], seconds: float) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.succeeded(received, seconds))

    async def skipped(self, envelope: Envelope, delivery: Delivery) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.skipped(envelope, delivery))

    async def interrupted(self, received: Received[Any]) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.interrupted(received))

    async def failed(self, received: Received[Any], error: BaseException, delay: float) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.failed(received, error, delay))

    async def buried(self, envelope: Envelope, delivery: Delivery, reason: Reason, error: BaseException) -> None:
        """Told in the order given."""
        await self._each(lambda observer: observer.buried(envelope, delivery, reason, error))

    async def _each(self, tell: Callable[[Observer], Awaitable[None]]) -> None:
        troubles: list[Exception] = []
        for observer in self._observers:
            try:
                await tell(observer)
            except Exception as trouble:
                troubles.append(trouble)
        if troubles:
            raise ExceptionGroup("; ".join(map(str, troubles)), troubles)
