"""Contracts of a domain that only tests use."""

from __future__ import annotations

from stenobus_contracts import Event
from stenobus_contracts.event import Model


class Failure(Model):
    message: str
    retryable: bool = False


class Ping(Event, subject="test.ping"):
    """Something to handle."""

    number: int
    text: str = ""


class Pong(Event, subject="test.pong"):
    """What became of it."""

    number: int
    text: str = ""


class Ask(Event, subject="test.ask"):
    """A question."""

    question: str


class Answer(Event, subject="test.answer", answers=Ask):
    """Its answer, or why there is none."""

    text: str = ""
    error: Failure | None = None


class Order(Event, subject="test.order", lanes=("urgent",)):
    """Something that may be urgent."""

    number: int
    urgent: bool = False

    @property
    def lane(self) -> str | None:
        return "urgent" if self.urgent else None


class Delivered(Event, subject="test.delivered", answers=Order):
    """What became of it."""

    number: int
