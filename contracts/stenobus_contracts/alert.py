"""Alerts of the bus itself."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from .event import Event


class BusAlert(Event, subject="bus.alert"):
    """More goes wrong at a handler than it should, or no longer does.

    At most one opens per handler and window, however many processes watch.
    """

    alert_id: str = Field(description="equal for the one that opens, those that follow, and the one that resolves it")
    kind: Literal["dead_letters"] = Field(description="dead_letters: events of the handler that became dead letters")
    status: Literal["open", "resolved"] = Field(
        default="open",
        description="an open one is followed by another when the count has doubled, and by a resolved one when a "
        "window saw no more than half of the threshold",
    )
    handler: str
    reason: str | None = Field(default=None, description="the most frequent reason in the window")
    count: int = Field(ge=0, description="in the window that ended when the alert was published")
    previous_count: int = Field(ge=0, description="in the window before")
    threshold: int = Field(ge=1, description="count from which on an alert opens")
    window_seconds: float = Field(gt=0)
    first_at: datetime | None = Field(default=None, description="when the first one in the window was stored")
