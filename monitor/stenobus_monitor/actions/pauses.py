"""Which handlers the monitor itself paused: whatever else is paused belongs to people."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class OwnPause(BaseModel):
    """A pause by the monitor. One that it ended has its end as its time."""

    model_config = ConfigDict(frozen=True)

    handler: str
    until: datetime
