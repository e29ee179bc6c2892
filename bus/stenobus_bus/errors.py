"""Everything that can go wrong on the bus: one tree."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stenobus_contracts import Event


class BusError(Exception):
    """Base of all errors of this distribution. Its text is one sentence for people."""


class ServerUnavailable(BusError):
    """No NATS server answers, or the embedded one cannot start."""


class AccessDenied(ServerUnavailable):
    """The server does not let this user in, or not do this. It may do so later: whoever waits goes on waiting."""


class DeclarationRefused(BusError):
    """A stream or consumer exists with a setting that the server cannot change in place."""


class ScheduleRefused(BusError):
    """A schedule's time, interval or zone makes no sense."""


class PublishFailed(BusError):
    """An event was not stored: no PubAck came before the deadline, or the server refused it.

    Args:
        message: one sentence.
        code: JetStream's error code when the server refused, else 0.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class PublishTimeout(PublishFailed):
    """An event was not stored in time because the server is away, or has no room. It may be later."""


class StreamFull(PublishTimeout):
    """An event was not stored: its stream, or the space for streams, was full up to the deadline."""


class PayloadTooLarge(BusError):
    """A message does not fit the server's ``max_payload``."""


class RequestTimeout(BusError):
    """No answer to a request came in time. The request stays: asking again finds its answer."""


class BlobNotFound(BusError):
    """A blob is gone or was never there."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri} does not exist")


class HandlerError(BusError):
    """Base of what a handler raises to say how its failure is to be settled."""


class PermanentError(HandlerError):
    """It will never work: the event goes to the dead letters at once."""


class RetryableError(HandlerError):
    """It may work later.

    Args:
        message: one sentence.
        delay: seconds until the next attempt; the retry policy decides when None.
    """

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class AnswerRefused(PermanentError):
    """The answer to a request says why there is none, or why it is no good.

    Args:
        message: one sentence.
        answer: the answer, with whatever it holds beside its error.
    """

    def __init__(self, message: str, answer: Any) -> None:
        super().__init__(message)
        self.answer = answer


class Abandoned(BusError):
    """The server, or somebody else than its handler, gave up on an event."""


class TooManyTokens(PermanentError):
    """More tokens are asked for than the limit's bucket ever holds."""


class LetterRefused(BusError):
    """A dead letter cannot be published again as it is."""


class InvalidPayload(PermanentError):
    """An event breaks its contract."""

    @classmethod
    def of(cls, error: Exception, contract: type[Event]) -> InvalidPayload:
        """One sentence for the person who published it."""
        if not isinstance(error, ValidationError):
            return cls(f"{contract.subject}: {error}")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return cls(f"{contract.subject}: {first_fault(error, 'the payload')}{more}")


def first_fault(error: ValidationError, whole: str = "") -> str:
    """Where the first of a model's faults is, and what it is.

    Args:
        whole: what to say for the place when it is no part, but all of it; nothing is said without.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or whole
    return f"{place}: {first['msg']}" if place else first["msg"]
