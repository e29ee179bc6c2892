"""Stenobus on NATS JetStream: nothing lost, nothing twice, everything replayable."""

from .access import Access
from .budget import Budget, Held, Shortfall
from .connection import Bus
from .envelope import Delivery, Envelope
from .errors import (
    AccessDenied,
    AnswerRefused,
    BlobNotFound,
    BusError,
    DeclarationRefused,
    HandlerError,
    LetterRefused,
    PayloadTooLarge,
    PermanentError,
    PublishFailed,
    PublishTimeout,
    RequestTimeout,
    RetryableError,
    ScheduleRefused,
    ServerUnavailable,
    StreamFull,
    TooManyTokens,
)
from .limits import Limits
from .observer import Observer, Observers, Received
from .post import Post, Stored
from .rates import RateLimit, Reservation, TokenBucket
from .schedules import ScheduleSpec
from .server import EmbeddedServer
from .settle import RetryPolicy
from .stats import Stats
from .timing import Occurrence
from .topology import Change, ConsumerSpec, StreamSpec, apply, plan
from .worker import Worker

__all__ = [
    "Access",
    "AccessDenied",
    "AnswerRefused",
    "BlobNotFound",
    "Budget",
    "Bus",
    "BusError",
    "Change",
    "ConsumerSpec",
    "DeclarationRefused",
    "Delivery",
    "EmbeddedServer",
    "Envelope",
    "HandlerError",
    "Held",
    "LetterRefused",
    "Limits",
    "Observer",
    "Observers",
    "Occurrence",
    "PayloadTooLarge",
    "PermanentError",
    "Post",
    "PublishFailed",
    "PublishTimeout",
    "RateLimit",
    "Received",
    "RequestTimeout",
    "Reservation",
    "RetryPolicy",
    "RetryableError",
    "ScheduleRefused",
    "ScheduleSpec",
    "ServerUnavailable",
    "Shortfall",
    "Stats",
    "Stored",
    "StreamFull",
    "StreamSpec",
    "TokenBucket",
    "TooManyTokens",
    "Worker",
    "apply",
    "plan",
]
