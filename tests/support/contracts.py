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
