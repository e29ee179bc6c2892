"""An event that could not be handled, with everything needed to understand and retry it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from .event import Model

Reason = Literal["invalid", "permanent", "exhausted", "crashed", "undelivered", "terminated"]


class DeadLetter(Model):
    """What is stored on ``dlq.<handler>.<reason>``; the original bytes are ``data`` when UTF-8, else ``data_base64``.

    With neither, the original was gone from its stream before it could be kept.
    """

    subject: ClassVar[str] = "dlq.>"
    event_type: ClassVar[str] = "stenobus.dlq.v1"

    handler: str = Field(description="durable name of the consumer that gave up")
    reason: Reason = Field(
        description="invalid: the payload broke its contract; permanent: the handler said it can never work; "
        "exhausted: every attempt failed; crashed: the process died on it again and again; "
        "undelivered: the server gave up after its last delivery, which nobody settled; "
        "terminated: somebody else than the handler ended it"
    )
    error: str = Field(description="class of the last error")
    message: str = Field(description="the last error in one sentence")
    traceback: str | None = None
    attempts: int = Field(ge=1)
    event_id: str
    run: str
    causation: str | None = Field(default=None, description="id of the event that led to this one")
    stream: str
    sequence: int = Field(ge=1, description="the original's sequence in its stream")
    original_subject: str
    failed_at: datetime
    headers: dict[str, str] = Field(default_factory=dict, description="the original headers")
    data: str | None = None
    data_base64: str | None = None
